// Slices of scans, unpacked once and painted on canvases, with the outlines of two masks.

// One colour and one dash for each mask, wherever it is drawn.
const MASKS = {
  manual: { color: "#ff9d3c", dash: [] },
  predicted: { color: "#5fe0ff", dash: [4, 2.5] },
};

// What `brains.pack` wrote: of each slice its levels, then the bits of the predicted and of the manual mask.
async function scans({ shapes, ratios, data }) {
  const bytes = await unpack(data);
  let start = 0;
  return shapes.map(([nx, ny], i) => {
    const size = nx * ny, bits = Math.ceil(size / 8), at = start;
    start += size + 2 * bits;
    const mask = (k) => (x, y) => {
      if (x < 0 || y < 0 || x >= nx || y >= ny) return 0;
      const place = y * nx + x;
      return (bytes[at + size + k * bits + (place >> 3)] >> (7 - (place & 7))) & 1;
    };
    return { nx, ny, ratio: ratios[i], level: (x, y) => bytes[at + y * nx + x], predicted: mask(0), manual: mask(1) };
  });
}

// Edges of the pixels of a mask that have no neighbour in it. Right is left, as radiologists have it.
function outline(context, { nx, ny }, within, width, height, { color, dash }, scale) {
  const w = width / nx, h = height / ny;
  context.beginPath();
  for (let row = 0; row < ny; row++) for (let column = 0; column < nx; column++) {
    const x = nx - 1 - column, y = ny - 1 - row;
    if (!within(x, y)) continue;
    const edge = (xa, ya, xb, yb) => { context.moveTo(xa * w, ya * h); context.lineTo(xb * w, yb * h); };
    if (!within(x + 1, y)) edge(column, row, column, row + 1);
    if (!within(x - 1, y)) edge(column + 1, row, column + 1, row + 1);
    if (!within(x, y + 1)) edge(column, row, column + 1, row);
    if (!within(x, y - 1)) edge(column, row + 1, column + 1, row + 1);
  }
  for (const [style, size, pattern] of [["rgba(0,0,0,0.6)", 2.6, []], [color, 1.5, dash]]) {
    context.strokeStyle = style;
    context.lineWidth = size * scale;
    context.setLineDash(pattern.map((length) => length * scale));
    context.stroke();
  }
}

// Paint a slice with the masks that are named; the manual one is filled as well.
function paint(canvas, scan, masks) {
  const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio)), height = Math.max(1, Math.round(width / scan.ratio));
  const source = new OffscreenCanvas(scan.nx, scan.ny), pixels = source.getContext("2d");
  const image = pixels.createImageData(scan.nx, scan.ny);
  for (let row = 0, i = 0; row < scan.ny; row++) for (let column = 0; column < scan.nx; column++, i += 4) {
    const grey = (255 / 63) * scan.level(scan.nx - 1 - column, scan.ny - 1 - row);
    image.data.set([grey, grey, grey, 255], i);
  }
  pixels.putImageData(image, 0, 0);
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  if (masks.includes("manual")) {
    context.fillStyle = "rgba(255, 157, 60, 0.28)";
    const w = width / scan.nx, h = height / scan.ny;
    for (let x = 0; x < scan.nx; x++) for (let y = 0; y < scan.ny; y++)
      if (scan.manual(x, y)) context.fillRect((scan.nx - 1 - x) * w, (scan.ny - 1 - y) * h, w, h);
  }
  const scale = devicePixelRatio * (width / devicePixelRatio < 90 ? 0.6 : 1);
  for (const name of masks) outline(context, scan, scan[name], width, height, MASKS[name], scale);
}

// What a line means: its sample and words, which stay on one line.
function legend(name, words) {
  const { color, dash } = MASKS[name];
  const line = dash.length ? `repeating-linear-gradient(to right, ${color} 0 6px, #000 6px 10px)` : color;
  const sample = html("span", { class: "sample", "aria-hidden": "true" }, html("span"));
  sample.firstChild.style.background = line;
  return html("span", { class: "pair" }, sample, words);
}
