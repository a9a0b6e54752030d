// One slice on a canvas: painted, with outlines. Arrays are in RAS order; right is on the left, front is up.

// A canvas with its title and the sides of the patient.
function sliceFrame(title, attributes) {
  const canvas = html("canvas", attributes);
  const side = (letter, where, words) => html("span", { class: `side ${where}`, title: words }, letter);
  return { canvas, frame: html("figure", {}, html("figcaption", {}, title),
    html("div", { class: "picture" }, canvas, side("R", "left", "patient's right"), side("L", "right", "patient's left"))) };
}

function colourBar(stops, low, high) {
  const bar = html("span", { class: "bar" });
  bar.style.background = `linear-gradient(to right, ${stops.split(" ").map((c) => `#${c}`).join(", ")})`;
  return html("div", { class: "scale" }, low, bar, high);
}

function lineSample(color, dashed = false) {
  const node = html("span", { class: "sample", "aria-hidden": "true" }, html("span"));
  node.firstChild.style.background = dashed ? `repeating-linear-gradient(to right, ${color} 0 6px, #000 6px 10px)` : color;
  return node;
}

const source = document.createElement("canvas");

// `colour` gives [r, g, b] of voxel (x, y).
function paintSlice(canvas, { nx, ny, ratio }, colour) {
  canvas.style.aspectRatio = ratio;
  const width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
  [canvas.width, canvas.height] = [width, Math.max(1, Math.round(width / ratio))];
  [source.width, source.height] = [nx, ny];
  const pixels = source.getContext("2d").createImageData(nx, ny);
  for (let row = 0, k = 0; row < ny; row++) for (let column = 0; column < nx; column++, k += 4)
    pixels.data.set([...colour(nx - 1 - column, ny - 1 - row), 255], k);
  source.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context;
}

// Marching squares: where `value` of voxel (x, y) crosses one half, between the centres of the voxels.
// `casing`: a dark line below, so that the contour is seen on white as well.
function contourSlice(context, { nx, ny }, value, { color, width = 1.6, alpha = 1, dash = [], casing = false }) {
  const { width: w, height: h } = context.canvas;
  const grid = Array.from({ length: ny }, (_, row) =>
    Array.from({ length: nx }, (_, column) => value(nx - 1 - column, ny - 1 - row) - 0.4999));
  context.beginPath();
  for (let row = 0; row + 1 < ny; row++) for (let column = 0; column + 1 < nx; column++) {
    const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]], cuts = [];
    for (let k = 0; k < 4; k++) {
      const [a, b] = [corners[k], corners[(k + 1) % 4]], va = grid[a[1]][a[0]], vb = grid[b[1]][b[0]];
      if (va > 0 === vb > 0) continue;
      const t = va / (va - vb);
      cuts.push([((a[0] + t * (b[0] - a[0]) + 0.5) / nx) * w, ((a[1] + t * (b[1] - a[1]) + 0.5) / ny) * h]);
    }
    for (let k = 0; k + 1 < cuts.length; k += 2) {
      context.moveTo(...cuts[k]);
      context.lineTo(...cuts[k + 1]);
    }
  }
  if (casing) {
    Object.assign(context, { strokeStyle: "#000", lineWidth: (width + 2.4) * devicePixelRatio });
    context.stroke();
  }
  context.setLineDash(dash.map((length) => length * devicePixelRatio));
  Object.assign(context, { strokeStyle: color, lineWidth: width * devicePixelRatio, globalAlpha: alpha });
  context.stroke();
  context.globalAlpha = 1;
  context.setLineDash([]);
}
