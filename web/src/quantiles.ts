/** Order statistics, as NumPy and PyTorch define them. */

/** The value at position `k`, from 0, of the sorted values; the array's order changes. */
export function kth(values: Float32Array, k: number): number {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1]!;
    let [i, j] = [low, high];
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i <= j) {
        [values[i], values[j]] = [values[j]!, values[i]!];
        i++;
        j--;
      }
    }
    if (k <= j) high = j;
    else if (k >= i) low = i;
    else break;
  }
  return values[k]!;
}

/** Percentile with linear interpolation of values that are sorted already. */
export function percentile(sorted: Float32Array, percent: number): number {
  const at = (percent / 100) * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  return low + (at - below) * ((sorted[below + 1] ?? low) - low);
}

/** Quantiles with linear interpolation; the array's order changes. */
export function quantiles(values: Float32Array, at: readonly number[]): number[] {
  values.sort();
  return at.map((share) => percentile(values, 100 * share));
}
