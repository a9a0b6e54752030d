// Uncertainty map, built pass by pass: outlines, entropy, and the answers of one voxel.

const bits = (p) => (p <= 0 || p >= 1 ? 0 : -p * Math.log2(p) - (1 - p) * Math.log2(1 - p));
const PASS = "#5fe0ff", MANUAL = "#ff9d3c";
const DIM = 0.6; // the FLAIR darker than it is: lesions are white, and so are lines on them
const CURVES = [
  ["dice", "Lesion Dice of the mean", 2],
  ["vs", "Sum of the entropy (mm³·bit)", 0],
  ["inside", "Mean entropy in the mask (bit)", 2],
];

function render({ model, el }) {
  const { cases, rates, trained, count } = model.get("data");
  const names = Object.keys(cases);
  const now = () => cases[model.get("case")];
  const table = colours(CIVIDIS), grey = colours(GREY);
  let data = null, loaded = null, manual = true;

  const set = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    update();
  };

  const root = html("div", { class: "wmhqc", role: "group", "aria-label": "Uncertainty map, pass by pass" });
  const who = choice("Case", names.map((name) => [name, cases[name].title]), (name) => {
    const [x, y, slice] = cases[name].places[0][1];
    set({ case: name, slice, voxel: [x, y] });
  });
  const passes = range("Passes N", { min: 1, max: count, step: 1 }, (n) => set({ passes: n }));
  const rate = range("Dropout rate", { min: 0, max: rates.length - 1, step: 1 }, (k) => set({ rate: k }));
  const slice = range("Slice, from low to high", { min: 0, step: 1 }, (z) => set({ slice: z }));
  const outline = html("button", { type: "button", "aria-pressed": "true" }, lineSample(MANUAL), "Manual outline");
  outline.addEventListener("click", () => {
    manual = !manual;
    outline.setAttribute("aria-pressed", manual);
    draw();
  });
  const jumps = html("div", { class: "buttons" });
  const [scan, entropy] = [
    sliceFrame("FLAIR, outline of each pass", { role: "application", tabindex: 0, "aria-label": "Crosshair: the arrow keys move it by one voxel." }),
    sliceFrame("Entropy of their mean (bit)", { role: "img", "aria-label": "Entropy of the mean." }),
  ];
  [scan, entropy].forEach(({ canvas }) => follow(canvas));
  entropy.frame.append(colourBar(CIVIDIS, "0", "1"));
  scan.frame.append(html("div", { class: "scale" }, html("span", {}, lineSample(PASS), "each pass"), html("span", {}, lineSample("#ffffff"), "their mean")));
  const words = html("p", { class: "summary apart", role: "status" });
  const curve = svg("svg", { class: "chart", role: "img" });
  const runs = CURVES.map(([, title]) => {
    const picture = svg("svg", { class: "chart", role: "img" }), value = html("data");
    return { picture, value, frame: html("figure", {}, html("figcaption", {}, html("span", {}, title), value), picture) };
  });
  const voxelTitle = html("figcaption", {}, "One voxel: its answers on the curve of entropy");
  const key = html("p", { class: "remark" }, "Small circles: the passes. Ring: entropy of their mean. Diamond: mean of their own entropies. "
    + "Bar between: their disagreement (mutual information).");
  root.append(
    html("div", { class: "choices" }, who.row, outline),
    html("div", { class: "controls pair" }, passes.row, rate.row),
    html("div", { class: "panels two" }, scan.frame, entropy.frame),
    html("div", { class: "controls" }, slice.row, html("div", { class: "control" }, html("span", {}, "Go to"), jumps)), words,
    html("div", { class: "halves" }, html("figure", {}, voxelTitle, curve, key),
      html("div", { class: "running" }, ...runs.map((run) => run.frame))),
    html("p", { class: "remark" }, `Seen from the feet: the patient’s right (R) is on the left. The curves on the right hold for the whole brain, `
      + `one for each dropout rate; the thick one is the rate of the slider. The network learned with a rate of ${trained}.`));
  el.replaceChildren(root);

  function follow(canvas) {
    const move = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const frame = canvas.getBoundingClientRect(), [nx, ny] = now().shape;
      const column = Math.floor(((event.clientX - frame.left) / frame.width) * nx);
      const row = Math.floor(((event.clientY - frame.top) / frame.height) * ny);
      if (column >= 0 && row >= 0 && column < nx && row < ny) set({ voxel: [nx - 1 - column, ny - 1 - row] });
    };
    canvas.addEventListener("pointerdown", move);
    canvas.addEventListener("pointermove", move);
  }

  // Level 0 to 63 of a pass, of the FLAIR, and whether the manual mask is set; x fastest, as packed in Python.
  const voxels = () => now().shape[0] * now().shape[1] * now().shape[2];
  const index = (x, y) => (model.get("slice") * now().shape[1] + y) * now().shape[0] + x;
  const answer = (n, i) => data[(model.get("rate") * count + n) * voxels() + i] / 63;
  const flair = (i) => data[rates.length * count * voxels() + i];
  const lesion = (i) => data[(rates.length * count + 1) * voxels() + i];

  function average(i) {
    let sum = 0;
    for (let n = 0; n < model.get("passes"); n++) sum += answer(n, i);
    return sum / model.get("passes");
  }

  // Size of the slice, for the helpers of picture.js.
  function grid() {
    const { shape: [nx, ny], spacing: [sx, sy] } = now();
    return { nx, ny, ratio: (nx * sx) / (ny * sy) };
  }

  function cross(context) {
    const [nx, ny] = now().shape, [x, y] = model.get("voxel");
    const { width, height } = context.canvas, size = 3 * devicePixelRatio;
    const [cx, cy] = [((nx - x - 0.5) / nx) * width, ((ny - y - 0.5) / ny) * height];
    for (const [color, thick] of [["#000", 4], ["#fff", 1.6]]) {
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(cx + dx * size, cy + dy * size);
        context.lineTo(cx + dx * 4 * size, cy + dy * 4 * size);
      }
      Object.assign(context, { strokeStyle: color, lineWidth: thick * devicePixelRatio });
      context.stroke();
    }
  }

  function draw() {
    if (!data) return;
    const n = model.get("passes"), i = index(...model.get("voxel"));
    const context = paintSlice(scan.canvas, grid(), (x, y) => grey[Math.round(DIM * flair(index(x, y)))]);
    const contour = (value, style) => contourSlice(context, grid(), (x, y) => value(index(x, y)), style);
    for (let pass = 0; pass < n; pass++) contour((k) => answer(pass, k), { color: PASS, width: 1, alpha: n === 1 ? 1 : 0.45 });
    contour(average, { color: "#ffffff", casing: true });
    if (manual) contour(lesion, { color: MANUAL });
    cross(context);
    cross(paintSlice(entropy.canvas, grid(), (x, y) => table[Math.round(63 * bits(average(index(x, y))))]));
    const answers = Array.from({ length: n }, (_, pass) => answer(pass, i));
    drawVoxel(answers, say(answers));
    drawRuns();
  }

  // What is said of the voxel and of the case; also for the screen reader.
  function say(answers) {
    const n = answers.length, { curves, title } = now();
    const mean = answers.reduce((a, b) => a + b, 0) / n, total = bits(mean);
    const own = answers.map(bits).reduce((a, b) => a + b, 0) / n;
    const yes = answers.filter((p) => p >= 0.5).length, numbers = curves[model.get("rate")];
    const said = (name, digits) => shown(numbers[name][n - 1] ?? NaN, digits);
    words.textContent = `Voxel at the crosshair: ${yes} of ${n} ${plural(n, "pass says", "passes say")} lesion, mean ${fixed(mean, 2)}, `
      + `entropy ${fixed(total, 2)} bit, of which ${fixed(total - own, 2)} is disagreement between the passes. `
      + `Whole brain: Dice ${said("dice", 2)}, sum of the entropy ${said("vs", 0)} mm³·bit, mean in the mask ${said("inside", 2)} bit.`;
    Object.assign(root.dataset, { mean, entropy: total, expected: own, passes: n, rate: rates[model.get("rate")], case: title });
    return { mean, total, own };
  }

  function drawVoxel(answers, { mean, total, own }) {
    const width = Math.max(240, curve.clientWidth);
    const { X, Y, add, line, done } = axes(curve, {
      width, height: Math.round(Math.min(330, 0.86 * width)), x: [0, 1], y: [0, 1.08], xlabel: "probability of lesion", ylabel: "entropy (bit)" });
    line(Array.from({ length: 101 }, (_, k) => [k / 100, bits(k / 100)]), { class: "curve" });
    for (const p of answers) add("circle", { class: "answer", cx: X(p), cy: Y(bits(p)), r: 5 });
    add("line", { class: "gap", x1: X(mean), y1: Y(own), x2: X(mean), y2: Y(total) });
    add("path", { class: "own", d: `M${X(mean)} ${Y(own) - 6}l6 6l-6 6l-6 -6z` });
    add("circle", { class: "here", cx: X(mean), cy: Y(total), r: 6 });
    const side = mean > 0.5 ? -1 : 1, gap = Y(own) - Y(total);
    const label = (y, text) => add("text", { class: "side", x: X(mean) + 12 * side, y, "text-anchor": side > 0 ? "start" : "end" }, text);
    label(Y(total) + (total > 0.9 ? 14 : -8), `${fixed(total, 2)} bit`);
    if (gap > 34) label(Y(own) + 4, `${fixed(own, 2)} bit`);
    if (gap > 70) label((Y(own) + Y(total)) / 2 + 4, `${fixed(total - own, 2)} bit`);
    curve.setAttribute("aria-label", `Entropy against probability, with the ${answers.length} answers of the voxel: ${answers.slice(0, 8).map((p) => fixed(p, 2)).join(", ")}${answers.length > 8 ? " and more" : ""}.`);
    done();
  }

  function drawRuns() {
    const n = model.get("passes"), { curves } = now();
    runs.forEach(({ picture, value }, k) => {
      const [name, title, digits] = CURVES[k];
      const all = curves.flatMap((curve) => curve[name]).filter((v) => v !== null);
      if (!all.length) all.push(0, 1); // no mask has a voxel
      const [low, high] = [Math.min(...all), Math.max(...all)], room = 0.1 * (high - low || 1);
      const width = Math.max(240, picture.clientWidth);
      const { X, Y, add, line, done } = axes(picture, {
        width, height: 104, x: [1, count], y: [Math.max(0, low - room), high + room], yticks: 4, right: 38, bottom: k === 2 ? 38 : 24, xlabel: k === 2 ? "passes N" : "" });
      curves.forEach((curve, r) => line(curve[name].map((v, i) => [i + 1, v]).filter(([, v]) => v !== null),
        { class: r === model.get("rate") ? "curve score" : "curve other" }));
      curves.forEach((curve, r) => {
        const last = curve[name].at(-1);
        const near = curves.slice(0, r).some((other) => Math.abs(Y(other[name].at(-1)) - Y(last)) < 11);
        if (last !== null && !near) add("text", { class: "tick", x: X(count) + 5, y: Y(last) + 4 }, String(rates[r]));
      });
      const here = curves[model.get("rate")][name][n - 1] ?? NaN;
      value.textContent = shown(here, digits);
      value.setAttribute("value", here);
      if (!Number.isNaN(here)) add("circle", { class: "here", cx: X(n), cy: Y(here), r: 5 });
      picture.setAttribute("aria-label", `${title} with 1 to ${count} passes; with ${n}: ${shown(here, digits)}.`);
      done();
    });
  }

  async function update() {
    const name = model.get("case"), { shape, packed, places } = now();
    who.select.value = name;
    passes.show(model.get("passes"), String(model.get("passes")));
    rate.show(model.get("rate"), String(rates[model.get("rate")]));
    slice.row.querySelector("input").max = shape[2] - 1;
    slice.show(model.get("slice"), `${model.get("slice") + 1} of ${shape[2]}`);
    if (loaded !== name) {
      loaded = name;
      jumps.replaceChildren(...places.map(([label, [x, y, z]]) => {
        const node = html("button", { type: "button" }, label);
        node.addEventListener("click", () => set({ slice: z, voxel: [x, y] }));
        return node;
      }));
      data = null;
      const bytes = await unpack(packed);
      if (loaded !== name) return;
      data = bytes;
    }
    draw();
  }

  scan.canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [nx, ny] = now().shape, [x, y] = model.get("voxel");
    set({ voxel: [Math.min(nx - 1, Math.max(0, x + step[0])), Math.min(ny - 1, Math.max(0, y + step[1]))] });
  });
  const leave = listen(model, ["case", "rate", "passes", "slice", "voxel"], update, root, draw);
  update();
  return leave;
}

export default { render };
