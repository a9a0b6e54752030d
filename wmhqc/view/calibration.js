// The reader's own reliability diagram, from the predictions that their browser remembers.
// The numbers are those of calibration_numbers() in predictions.py; a test compares the two.

function numbers(list, bins) {
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const part = (k) => list.filter(({ sure }) => sure >= bins[k] && (sure < bins[k + 1] || k === bins.length - 2));
  const good = list.filter(({ right }) => right), bad = list.filter(({ right }) => !right);
  let wins = 0;
  for (const a of good) for (const b of bad) wins += a.sure > b.sure ? 1 : a.sure === b.sure ? 0.5 : 0;
  return {
    sure: mean(list.map(({ sure }) => sure)), right: good.length / list.length,
    brier: mean(list.map(({ sure, right }) => (sure - right) ** 2)),
    auroc: good.length && bad.length ? wins / (good.length * bad.length) : NaN,
    bins: bins.slice(0, -1).map((_, k) => part(k)).filter((some) => some.length)
      .map((some) => [mean(some.map(({ sure }) => sure)), mean(some.map(({ right }) => Number(right))), some.length]),
  };
}

function render({ model, el }) {
  const { network, bins } = model.get("data"), FEW = 5;
  const root = html("div", { class: "wmhqc calibration", role: "group", "aria-label": "Your own reliability diagram" });
  const picture = svg("svg", { class: "chart", role: "img" }), chart = html("div", { class: "plot" }, picture);
  const words = html("p", { class: "summary", role: "status" }), facts = html("dl");
  const again = html("button", { type: "button" }, "Look again");
  const copy = html("button", { type: "button" }, "Show as text");
  const forget = html("button", { type: "button" }, "Forget all");
  const text = html("textarea", { readonly: "", rows: 6, "aria-label": "Your predictions as text" });
  text.hidden = true;
  root.append(words, html("div", { class: "beside" }, chart, facts), html("div", { class: "buttons" }, again, copy, forget), text,
    html("p", { class: "remark" }, "Your answers are kept in this browser and go nowhere."));
  el.replaceChildren(root);
  let list = [];

  function update() {
    list = Object.values(remembered()).filter((said) => said && typeof said.sure === "number" && typeof said.right === "boolean");
    model.set("said", list);
    model.save_changes();
    const n = list.length ? numbers(list, bins) : null, percent = (x) => `${Math.round(100 * x)} %`;
    const gap = n ? n.sure - n.right : 0;
    words.textContent = !n ? "You have committed to no prediction yet. Each chapter asks for some; come back when you have."
      : `You were right in ${percent(n.right)} of ${list.length} ${plural(list.length, "prediction", "predictions")}, and ${percent(n.sure)} sure on average.`
        + (list.length < FEW ? " Too few to say more." : Math.abs(gap) < 0.05 ? " You know what you know." : gap > 0 ? ` Too sure by ${percent(gap)}.` : ` Too modest by ${percent(-gap)}.`);
    const rows = n ? [["AUROC of your confidence", shown(n.auroc)], ["Brier score", shown(n.brier)]] : [];
    facts.replaceChildren(...rows.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
    copy.disabled = forget.disabled = !n;
    Object.assign(root.dataset, { answers: list.length, auroc: n ? n.auroc : "", brier: n ? n.brier : "", sure: n ? n.sure : "", right: n ? n.right : "" });
    root.dataset.bins = JSON.stringify(n ? n.bins : []);
    draw(n);
  }

  function draw(n) {
    const width = Math.min(420, Math.max(260, chart.clientWidth)), box = { left: 54, right: 26, top: 14, bottom: 44 };
    const height = width - 10, X = (v) => box.left + v * (width - box.left - box.right), Y = (v) => height - box.bottom - v * (height - box.top - box.bottom);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.setAttribute("height", height);
    const parts = [];
    const add = (tag, attributes, content) => parts.push(svg(tag, attributes, content));
    for (const t of [0, 0.25, 0.5, 0.75, 1]) {
      add("line", { class: "grid", x1: X(0), y1: Y(t), x2: X(1), y2: Y(t) });
      add("text", { class: "tick", x: box.left - 6, y: Y(t) + 4, "text-anchor": "end" }, `${100 * t} %`);
      add("text", { class: "tick", x: X(t), y: height - box.bottom + 17, "text-anchor": "middle" }, `${100 * t} %`);
    }
    add("text", { class: "axis", x: X(0.5), y: height - 6, "text-anchor": "middle" }, "how sure");
    add("text", { class: "axis", "text-anchor": "middle", transform: `translate(12 ${Y(0.5)}) rotate(-90)` }, "how often right");
    add("line", { class: "curve random", x1: X(0), y1: Y(0), x2: X(1), y2: Y(1) });
    if (network.length) {
      add("polyline", { class: "curve baseline", points: network.map(([p, f]) => `${X(p).toFixed(1)},${Y(f).toFixed(1)}`).join(" ") });
      add("text", { class: "side limit", x: X(0.04), y: Y(0.93), "text-anchor": "start" }, "- - the network, voxel by voxel");
    }
    if (n) {
      add("polyline", { class: "curve score", points: n.bins.map(([p, f]) => `${X(p).toFixed(1)},${Y(f).toFixed(1)}`).join(" ") });
      for (const [p, f, count] of n.bins) {
        const r = 4 + 2 * Math.sqrt(count);
        add("circle", { class: "here", cx: X(p), cy: Y(f), r });
        add("text", { class: "tick", x: X(p), y: Y(f) - r - 4, "text-anchor": "middle" }, String(count));
      }
    }
    const said = n ? n.bins.map(([p, f, count]) => `${Math.round(100 * p)} % sure, ${Math.round(100 * f)} % right of ${count}`).join("; ") : "no predictions yet";
    picture.setAttribute("aria-label", `Reliability diagram: how often right against how sure. You: ${said}.`);
    picture.replaceChildren(...parts);
  }

  again.addEventListener("click", update);
  copy.addEventListener("click", () => {
    text.hidden = !text.hidden;
    text.value = JSON.stringify(remembered(), null, 1);
  });
  forget.addEventListener("click", () => { remember({}); text.hidden = true; update(); });
  const observer = new ResizeObserver(() => draw(list.length ? numbers(list, bins) : null));
  observer.observe(root);
  update();
  return () => observer.disconnect();
}

export default { render };
