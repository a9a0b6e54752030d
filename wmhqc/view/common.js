// What several explorers use: elements, axes, numbers in words.

function html(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function svg(tag, attributes = {}, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

// 1, 2 or 5 times a power of ten, not smaller than x
function nice(x) {
  const power = 10 ** Math.floor(Math.log10(x));
  return power * [1, 2, 5, 10].find((m) => m * power >= x * (1 - 1e-9));
}

function ticks(lo, hi, most) {
  const step = nice((hi - lo) / most);
  const list = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + 1e-9 * step; i++) list.push(i * step + 0); // + 0: no -0
  return { list, decimals: decimals(step) };
}

const decimals = (step) => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
const fixed = (x, digits) =>
  x.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const shown = (x, digits = 2) => (Number.isNaN(x) ? "undefined" : fixed(x, digits));
const plural = (n, one, many) => (n === 1 ? one : many);
const short = (x) =>
  (Number(x.toPrecision(3)) + 0).toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");

// Bytes that Python packed with gzip and base64.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Call `update` when one of the model's `names` changes, and `resized` when `root` gets another size; returns what ends both.
function listen(model, names, update, root, resized) {
  const events = names.map((name) => `change:${name}`);
  for (const event of events) model.on(event, update);
  const observer = new ResizeObserver(resized || (() => {}));
  if (resized) observer.observe(root);
  return () => {
    observer.disconnect();
    for (const event of events) model.off(event, update);
  };
}
