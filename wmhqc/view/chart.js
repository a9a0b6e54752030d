// Axes of a small chart; the caller draws into `parts` with X and Y.

function axes(picture, { width, height, x, y, xlabel = "", ylabel = "", xticks = 5, yticks = 4, left = 46, right = 14, bottom = 40, bare = false }) {
  const box = { left, right, top: 12, bottom };
  const X = (v) => box.left + ((v - x[0]) / (x[1] - x[0])) * (width - box.right - box.left);
  const Y = (v) => height - box.bottom - ((v - y[0]) / (y[1] - y[0])) * (height - box.bottom - box.top);
  const parts = [];
  const add = (tag, attributes, text) => {
    parts.push(svg(tag, attributes, text));
    return parts.at(-1);
  };
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.setAttribute("height", height);
  const across = ticks(...x, xticks), up = ticks(...y, yticks);
  const written = (t, { list, decimals }) =>
    (Math.max(...list.map(Math.abs)) >= 1e4 ? t.toLocaleString("en", { notation: "compact" }) : fixed(t, decimals));
  for (const t of across.list) {
    add("line", { class: "grid", x1: X(t), y1: box.top, x2: X(t), y2: height - box.bottom });
    add("text", { class: "tick", x: X(t), y: height - box.bottom + 16, "text-anchor": "middle" }, written(t, across));
  }
  for (const t of bare ? [] : up.list) { // bare: no axis upwards
    add("line", { class: "grid", x1: box.left, y1: Y(t), x2: width - box.right, y2: Y(t) });
    add("text", { class: "tick", x: box.left - 7, y: Y(t) + 4, "text-anchor": "end" }, written(t, up));
  }
  if (xlabel) add("text", { class: "axis", x: (box.left + width - box.right) / 2, y: height - 5, "text-anchor": "middle" }, xlabel);
  if (ylabel)
    add("text", { class: "axis", "text-anchor": "middle", transform: `translate(12 ${(height - box.bottom + box.top) / 2}) rotate(-90)` }, ylabel);
  const line = (points, attributes) =>
    add("polyline", { ...attributes, points: points.map(([a, b]) => `${X(a).toFixed(1)},${Y(b).toFixed(1)}`).join(" ") });
  return { X, Y, box, add, line, done: () => picture.replaceChildren(...parts) };
}

// A labelled slider with its value beside it, as one row of controls.
function range(label, attributes, changed) {
  const input = html("input", { type: "range", "aria-label": label, ...attributes });
  const value = html("output", { class: "value" });
  input.addEventListener("input", () => changed(Number(input.value)));
  return {
    row: html("div", { class: "control" }, html("span", { "aria-hidden": "true" }, label), value, input),
    show(number, text) {
      input.value = number;
      input.setAttribute("aria-valuetext", text);
      value.textContent = text;
    },
  };
}

function choice(label, options, changed) {
  const select = html("select", { "aria-label": label }, ...options.map(([value, text]) => html("option", { value }, text)));
  select.addEventListener("change", () => changed(select.value));
  return { row: html("div", { class: "control" }, html("span", { "aria-hidden": "true" }, label), select), select };
}
