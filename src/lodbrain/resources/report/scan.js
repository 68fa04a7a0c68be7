"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const stage = document.querySelector(".stage");
  const canvas = document.getElementById("canvas");
  const where = document.getElementById("where");
  const byIndex = new Map(data.labels.map((label) => [label.index, label]));
  const hidden = new Set();
  let viewer = null;
  let labels = null;

  document.getElementById("lines").addEventListener("change", (event) => {
    document.getElementById("slices").classList.toggle("without-lines", !event.target.checked);
  });

  document.getElementById("marks")?.addEventListener("change", (event) => {
    document.getElementById("slices").classList.toggle("with-marks", event.target.checked);
  });

  const fail = (text) => {
    stage.dataset.state = "failed";
    stage.querySelector(".wait").textContent = text;
  };

  const unpack = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  // The page holds NiiVue compressed. As a script element it runs under the page's own policy, by its checksum.
  const loadNiivue = async () => {
    const script = document.createElement("script");
    script.textContent = await unpack(document.getElementById("niivue").textContent);
    document.head.append(script);
    return globalThis.niivue;
  };

  const colours = () => {
    const map = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const { index, name, rgb } of data.labels) {
      map.R.push(rgb[0]);
      map.G.push(rgb[1]);
      map.B.push(rgb[2]);
      map.A.push(hidden.has(index) ? 0 : 255);
      map.I.push(index);
      map.labels.push(name);
    }
    return map;
  };

  const recolour = () => {
    labels.setColormapLabel(colours());
    viewer.updateGLVolume();
  };

  const tell = (location) => {
    // in the scanner's millimetres: those that NiiVue gives are of the grid, unlike where a scan is oblique
    const mm = Array.from(viewer.frac2mm(viewer.scene.crosshairPos, 0, true)).slice(0, 3);
    const index = Math.round(location.values[1]?.value ?? 0);
    const label = byIndex.get(index);
    where.replaceChildren();
    if (label) {
      const swatch = document.createElement("i");
      swatch.style.background = `rgb(${label.rgb.join(" ")})`;
      where.append(swatch);
    }
    const place = document.createElement("small");
    place.textContent = mm.map((value) => value.toFixed(1).replace("-", "−")).join(", ") + " mm";
    where.append(label ? label.words : "No structure", place);
    where.dataset.mm = mm.map((value) => value.toFixed(2)).join(" ");
    where.dataset.index = index;
  };

  const place = (mm) => {
    viewer.scene.crosshairPos = viewer.mm2frac(mm, 0, true);
    viewer.createOnLocationChange();
    viewer.drawScene();
  };

  const go = (mm) => {
    if (stage.dataset.state !== "ready") return;
    place(mm);
    if (stage.getBoundingClientRect().top < 0 || stage.getBoundingClientRect().bottom > innerHeight) {
      stage.scrollIntoView({ block: "center" });
    }
  };

  const STEPS = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0], PageDown: [0, 0, -1], PageUp: [0, 0, 1],
  };

  const connect = () => {
    document.addEventListener("click", (event) => {
      const button = event.target.closest(".go");
      if (!button) return;
      if (button.dataset.mm) go(button.dataset.mm.split(" ").map(Number));
      else if (byIndex.get(Number(button.dataset.index))?.mm) go(byIndex.get(Number(button.dataset.index)).mm);
    });
    for (const swatch of document.querySelectorAll("button.swatch")) {
      swatch.addEventListener("click", () => {
        const show = swatch.getAttribute("aria-pressed") !== "true";
        swatch.setAttribute("aria-pressed", String(show));
        for (const index of swatch.dataset.indices.split(" ").map(Number)) show ? hidden.delete(index) : hidden.add(index);
        recolour();
      });
    }
    const opacity = document.getElementById("opacity");
    const fade = () => viewer.setOpacity(1, opacity.value / 100);
    opacity.addEventListener("input", fade);
    document.getElementById("outlines").addEventListener("change", (event) => {
      viewer.opts.atlasOutline = event.target.checked ? 1 : 0;
      opacity.value = event.target.checked ? 100 : 45;
      fade();
    });
    document.getElementById("view").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
    document.getElementById("cross").addEventListener("change", (event) => viewer.setCrosshairWidth(event.target.checked ? 1 : 0));
    canvas.addEventListener(
      "keydown",
      (event) => {
        const step = STEPS[event.code];
        if (event.code !== "Tab") event.stopImmediatePropagation();
        if (!step) return;
        event.preventDefault();
        viewer.moveCrosshairInVox(...step);
      },
      { capture: true },
    );
  };

  const start = async () => {
    if (!globalThis.DecompressionStream || !document.createElement("canvas").getContext("webgl2")) {
      fail("This browser has no WebGL 2, which the viewer needs. Slices and volumes below do without.");
      return;
    }
    const niivue = await loadNiivue();
    viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.95, 0.75, 0.2, 0.9],
      fontColor: [0.75, 0.75, 0.75, 1],
      crosshairWidth: 1,
      crosshairGap: 6,
      dragAndDropEnabled: false,
      isOrientationTextVisible: true,
      scrollRequiresFocus: true,
      tileMargin: 4,
      loadingText: "",
      logLevel: "error",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      viewModeHotKey: "",
    });
    viewer.onLocationChange = tell;
    connect();
    await viewer.attachToCanvas(canvas);
    const scan = await niivue.NVImage.loadFromBase64({
      base64: data.scan, name: "scan.nii.gz", colormap: "gray", cal_min: 0, cal_max: data.white,
    });
    labels = await niivue.NVImage.loadFromBase64({ base64: data.regions, name: "labels.nii.gz", opacity: 0.45 });
    labels.setColormapLabel(colours());
    viewer.addVolume(scan);
    viewer.addVolume(labels);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    stage.dataset.state = "ready";
    place(data.start);
    globalThis.lodbrainViewer = viewer;
  };

  start().catch((error) => fail(`The viewer could not start: ${error.message}`));
})();
