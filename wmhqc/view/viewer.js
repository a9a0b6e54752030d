// Several maps of one case, one axial slice of each, and outlines of masks.

const CIVIDIS = "00224e 123570 3b496c 575d6d 707173 8a8678 a59c74 c3b369 e1cc55 fee838";
// Blue below zero, orange above; orange is the brighter of the two, so that the sign is
// also seen in grey.
const DIVERGING = "5fb4f5 2a6fb0 12314f 0c0c0c 6b3206 dd7a17 ffcf94";
const GREY = "000000 ffffff";
// Each outline has a colour and a dash of its own; the manual one is the first on every page.
const STYLES = [
  { color: "#ff9d3c", dash: [] },
  { color: "#5fe0ff", dash: [5, 3] },
  { color: "#ffffff", dash: [1.5, 3] },
];

function colours(stops) {
  const list = stops.split(" ").map((c) => [0, 2, 4].map((i) => parseInt(c.slice(i, i + 2), 16)));
  return Array.from({ length: 64 }, (_, level) => {
    const place = (level / 63) * (list.length - 1);
    const i = Math.min(list.length - 2, Math.floor(place));
    return list[i].map((c, k) => c + (place - i) * (list[i + 1][k] - c));
  });
}

const SCALES = { grey: GREY, cividis: CIVIDIS, diverging: DIVERGING };

// The pictures, their slider and the buttons of the outlines. `layout` is what all cases share; `place`
// gives the slice, `move` is called when the reader changes it. `load` shows the maps of a case.
function viewer({ maps, contours }, place, move) {
  const visible = contours.map(() => true);
  const others = contours.filter((name) => !/manual/i.test(name));
  const styles = contours.map((name) => STYLES[(others.indexOf(name) + 1) % STYLES.length]);
  let nx = 1, ny = 1, nz = 1, ratio = 1;
  let volume = null; // bytes, once unpacked
  // What is said of a slice, from low to high.
  const here = (z) => `${z + 1} of ${nz}`;

  const panels = maps.map(({ name, color, low, high }) => {
    const canvas = html("canvas", { role: "img" });
    const value = html("output", { class: "reading" });
    const stops = SCALES[color].split(" ").map((c) => `#${c}`).join(", ");
    const bar = html("span", { class: "bar" });
    bar.style.background = `linear-gradient(to right, ${stops})`;
    const frame = html("figure", {},
      html("figcaption", {}, html("span", {}, name), value),
      html("div", { class: "picture" }, canvas,
        html("span", { class: "side left", title: "patient's right" }, "R"),
        html("span", { class: "side right", title: "patient's left" }, "L")),
      html("div", { class: "scale" }, short(low), bar, short(high)));
    return { name, low, high, canvas, value, frame, table: colours(SCALES[color]) };
  });

  const slider = html("input", { type: "range", min: 0, step: 1, "aria-label": "Axial slice, from low to high" });
  const placed = html("output", { class: "value" });
  const remark = html("p", { class: "remark" });
  const buttons = html("div", { class: "buttons" });
  contours.forEach((name, k) => {
    const { color, dash } = styles[k];
    const line = dash.length ? `repeating-linear-gradient(to right, ${color} 0 ${dash[0] * 1.6}px, #000 0 ${(dash[0] + dash[1]) * 1.6}px)` : color;
    const sample = html("span", { class: "sample" }, html("span"));
    sample.firstChild.style.background = line;
    const node = html("button", { type: "button", "aria-pressed": "true" }, sample, name);
    node.addEventListener("click", () => {
      visible[k] = !visible[k];
      node.setAttribute("aria-pressed", visible[k]);
      draw();
    });
    buttons.append(node);
  });
  const nodes = [
    html("div", { class: maps.length > 4 ? "panels many" : "panels" }, ...panels.map((panel) => panel.frame)),
    html("div", { class: "controls" },
      html("div", { class: "control" }, html("span", {}, "Slice"), placed, slider),
      ...(contours.length ? [buttons] : []), remark)];

  // Voxel (x, y, z) of an array in RAS order; the picture shows x mirrored (right is left) and y upwards.
  const level = (map, x, y, z) => volume[map * nx * ny * nz + (z * ny + y) * nx + x];
  const within = (k, x, y, z) => {
    if (x < 0 || y < 0 || x >= nx || y >= ny) return false;
    const i = (z * ny + y) * nx + x;
    const bits = Math.ceil((nx * ny * nz) / 8);
    return (volume[maps.length * nx * ny * nz + k * bits + (i >> 3)] >> (7 - (i & 7))) & 1;
  };

  const source = document.createElement("canvas");

  function outline(context, k, z, width, height) {
    const w = width / nx, h = height / ny;
    context.beginPath();
    for (let row = 0; row < ny; row++) for (let column = 0; column < nx; column++) {
      const x = nx - 1 - column, y = ny - 1 - row;
      if (!within(k, x, y, z)) continue;
      const edge = (xa, ya, xb, yb) => { context.moveTo(xa * w, ya * h); context.lineTo(xb * w, yb * h); };
      if (!within(k, x + 1, y, z)) edge(column, row, column, row + 1);
      if (!within(k, x - 1, y, z)) edge(column + 1, row, column + 1, row + 1);
      if (!within(k, x, y + 1, z)) edge(column, row, column + 1, row);
      if (!within(k, x, y - 1, z)) edge(column, row + 1, column + 1, row + 1);
    }
    const { color, dash } = styles[k];
    const unit = devicePixelRatio * (width / devicePixelRatio < 240 ? 0.75 : 1);
    for (const [style, size, pattern] of [["rgba(0,0,0,0.65)", 3.2, []], [color, 1.7, dash]]) {
      context.strokeStyle = style;
      context.lineWidth = size * unit;
      context.setLineDash(pattern.map((d) => d * unit));
      context.stroke();
    }
  }

  function draw() {
    if (!volume) return;
    const z = Math.min(place(), nz - 1);
    panels.forEach(({ name, canvas, table }, map) => {
      const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
      canvas.width = width;
      canvas.height = Math.max(1, Math.round(width / ratio));
      const picture = source.getContext("2d").createImageData(nx, ny);
      for (let row = 0, i = 0; row < ny; row++) for (let column = 0; column < nx; column++, i += 4) {
        const [r, g, b] = table[level(map, nx - 1 - column, ny - 1 - row, z)];
        picture.data.set([r, g, b, 255], i);
      }
      source.getContext("2d").putImageData(picture, 0, 0);
      const context = canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(source, 0, 0, canvas.width, canvas.height);
      contours.forEach((_, k) => visible[k] && outline(context, k, z, canvas.width, canvas.height));
      canvas.setAttribute("aria-label", `${name}, axial slice ${here(z)}`);
    });
    slider.value = z;
    placed.textContent = here(z);
    slider.setAttribute("aria-valuetext", here(z));
    const found = contours.filter((_, k) => {
      for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++) if (within(k, x, y, z)) return true;
      return false;
    });
    remark.textContent = "Seen from the feet: the patient’s right (R) is on the left. "
      + (contours.length ? `In the picture: ${found.join(", ") || "no outline"}.` : "");
  }

  function read(event) {
    const frame = event.currentTarget.getBoundingClientRect();
    const column = Math.floor(((event.clientX - frame.left) / frame.width) * nx);
    const row = Math.floor(((event.clientY - frame.top) / frame.height) * ny);
    if (!volume || column < 0 || row < 0 || column >= nx || row >= ny) return;
    panels.forEach(({ value, low, high }, map) => {
      const l = level(map, nx - 1 - column, ny - 1 - row, place());
      value.textContent = short(low + (l / 63) * (high - low));
    });
  }

  slider.addEventListener("input", () => move(Number(slider.value)));
  for (const { canvas } of panels) {
    canvas.addEventListener("pointermove", read);
    canvas.addEventListener("pointerleave", () => panels.forEach(({ value }) => { value.textContent = ""; }));
  }

  let latest = null; // so that of two cases chosen quickly the last one stays
  async function load({ shape, spacing, data }) {
    const wide = (shape[0] * spacing[0]) / (shape[1] * spacing[1]);
    for (const { canvas } of panels) canvas.style.aspectRatio = wide;
    latest = data;
    const bytes = await unpack(data);
    if (latest !== data) return;
    [nx, ny, nz] = shape;
    [ratio, volume] = [wide, bytes];
    [source.width, source.height] = [nx, ny];
    slider.max = nz - 1;
    draw();
  }
  return { nodes, draw, load };
}
