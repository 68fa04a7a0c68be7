/** The scan and its labels in NiiVue. */

import { Niivue, NVImage } from "@niivue/niivue";
import type { Card, Triple } from "./types.ts";

const STEPS: Record<string, Triple> = {
  ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0], PageDown: [0, 0, -1], PageUp: [0, 0, 1],
};

export class Viewer {
  private readonly viewer: Niivue;

  private attached = false;

  /** `tell` is called with the number of the label under the cross-hair and the place in mm. */
  constructor(
    private readonly card: Card,
    private readonly canvas: HTMLCanvasElement,
    private readonly tell: (index: number, mm: number[]) => void,
  ) {
    this.viewer = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.95, 0.75, 0.2, 0.9], crosshairWidth: 1, crosshairGap: 6,
      dragAndDropEnabled: false, isOrientationTextVisible: true, scrollRequiresFocus: true, tileMargin: 4,
      loadingText: "", logLevel: "error", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "",
    });
    this.viewer.onLocationChange = (location: unknown) => {
      const values = (location as { values: { value: number }[] }).values;
      const mm = Array.from(this.viewer.frac2mm(this.viewer.scene.crosshairPos, 0, true)).slice(0, 3);
      this.tell(Math.round(values[1]?.value ?? 0), mm as number[]);
    };
  }

  private async attach(): Promise<void> {
    this.canvas.addEventListener("keydown", (event) => {
      const step = STEPS[event.code];
      if (event.code !== "Tab") event.stopImmediatePropagation();
      if (!step) return;
      event.preventDefault();
      this.viewer.moveCrosshairInVox(...step);
    }, { capture: true });
    await this.viewer.attachToCanvas(this.canvas);
    this.viewer.setSliceType(this.viewer.sliceTypeMultiplanar);
  }

  /** Show a scan alone; the canvas must be visible, as it is given its size with the first one. */
  async showScan(image: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.attached) await this.attach();
    this.attached = true;
    for (const volume of [...this.viewer.volumes]) this.viewer.removeVolume(volume);
    this.viewer.addVolume(await this.read(image, { name: "scan.nii", colormap: "gray" }));
  }

  async showLabels(labels: Uint8Array<ArrayBuffer>): Promise<void> {
    const volume = await this.read(labels, { name: "labels.nii", opacity: 0.45 });
    const rows = this.card.labels;
    volume.setColormapLabel({
      R: rows.map((row) => row.color[0]), G: rows.map((row) => row.color[1]), B: rows.map((row) => row.color[2]),
      A: rows.map((row) => (row.index ? 255 : 0)), I: rows.map((row) => row.index), labels: rows.map((row) => row.name),
    });
    this.viewer.addVolume(volume);
  }

  go(mm: Triple): void {
    this.viewer.scene.crosshairPos = this.viewer.mm2frac(mm, 0, true);
    this.viewer.createOnLocationChange();
    this.viewer.drawScene();
  }

  setOpacity(share: number): void {
    if (this.viewer.volumes.length > 1) this.viewer.setOpacity(1, share);
  }

  private async read(bytes: Uint8Array<ArrayBuffer>, options: { name: string; colormap?: string; opacity?: number }): Promise<NVImage> {
    return NVImage.loadFromFile({ file: new File([bytes], options.name), ...options });
  }
}
