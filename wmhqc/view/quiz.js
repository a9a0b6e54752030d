// The first question: some of these outlines are wrong. A look costs a click and shows the manual one.

function render({ model, el }) {
  const { cases, tau, scans: packed } = model.get("data");
  const wrong = cases.filter(({ failed }) => failed).length;
  let unpacked = null, open = false; // open: the others are shown as well

  const root = html("div", { class: "wmhqc quiz", role: "group", "aria-label": "Which of these outlines are wrong?" });
  const cards = cases.map(({ name }, i) => {
    const canvas = html("canvas", { "aria-hidden": "true" });
    const verdict = html("span", { class: "verdict" });
    const node = html("button", { type: "button", class: "card", "aria-pressed": "false" },
      html("span", { class: "picture" }, canvas,
        html("span", { class: "side left", "aria-hidden": "true" }, "R"), html("span", { class: "side right", "aria-hidden": "true" }, "L")),
      html("span", { class: "card-name" }, name, html("span", { class: "spoken" }, ", one slice with the network’s outline")), verdict);
    node.addEventListener("click", () => look(i));
    return { node, canvas, verdict };
  });

  const counts = {};
  const cell = (kind, words) => {
    counts[kind] = html("data", { class: "count", "data-name": kind });
    return html("td", { class: kind }, counts[kind], html("span", { class: "words" }, words));
  };
  const table = html("table", {},
    html("thead", {}, html("tr", {}, html("td"), html("th", { scope: "col" }, "You look"), html("th", { scope: "col" }, "Used unseen"))),
    html("tbody", {},
      html("tr", {}, html("th", { scope: "row" }, "Wrong"), cell("tp", "caught"), cell("fn", "missed")),
      html("tr", {}, html("th", { scope: "row" }, "Fine"), cell("fp", "false alarm"), cell("tn", "rightly used"))));
  const words = html("p", { class: "summary", role: "status" });
  const rest = html("button", { type: "button" }, "Show the others");
  const again = html("button", { type: "button" }, "Start again");
  const key = html("p", { class: "remark key masks" },
    legend("predicted", "network"), legend("manual", "manual, after a look"));
  root.append(
    html("div", { class: "quiz-columns" },
      html("div", { class: "cards" }, ...cards.map(({ node }) => node)),
      html("div", { class: "quiz-side" }, words, table, html("div", { class: "buttons" }, rest, again), key)));
  el.replaceChildren(root);

  function set(looked) {
    model.set("looked", looked);
    model.save_changes();
    update();
  }

  function look(i) {
    const looked = model.get("looked");
    if (!open && !looked.includes(i)) set([...looked, i]);
  }

  function update() {
    const looked = model.get("looked"), seen = (i) => looked.includes(i);
    const n = { tp: 0, fp: 0, fn: 0, tn: 0 };
    cases.forEach(({ failed }, i) => { n[seen(i) ? (failed ? "tp" : "fp") : failed ? "fn" : "tn"] += 1; });
    for (const [kind, node] of Object.entries(counts)) {
      node.value = n[kind];
      node.textContent = n[kind];
    }
    cards.forEach(({ node, verdict }, i) => {
      const { failed, dice, ml, true_ml } = cases[i], shown = seen(i) || open;
      node.setAttribute("aria-pressed", seen(i));
      node.classList.toggle("failed", shown && failed);
      node.classList.toggle("fine", shown && !failed);
      verdict.textContent = !shown ? "look" : `${failed ? "✗ wrong" : "✓ fine"}: overlap ${fixed(dice, 2)}`;
      verdict.title = shown ? `network ${short(ml)} ml, manual ${short(true_ml)} ml` : "";
    });
    words.textContent = said(looked, n);
    rest.disabled = open || looked.length === 0;
    again.disabled = looked.length === 0;
    root.dataset.looked = looked.join(" ");
    draw();
  }

  function said(looked, n) {
    if (!looked.length) return `Each look costs time. Click the ${wrong} that you would check.`;
    const last = cases[looked.at(-1)];
    const first = `${last.name} is ${last.failed ? "wrong" : "fine"}.`;
    const spent = `${looked.length} ${plural(looked.length, "look", "looks")}: ${n.tp} of ${wrong} wrong ones caught`;
    const alarms = n.fp ? `, ${n.fp} ${plural(n.fp, "false alarm", "false alarms")}` : "";
    return `${first} ${spent}${alarms}. ${n.fn ? `${n.fn} wrong ${plural(n.fn, "outline is", "outlines are")} used all the same.` : "None slips through."}`;
  }

  function draw() {
    if (!unpacked) return;
    cards.forEach(({ canvas }, i) => paint(canvas, unpacked[i], open || model.get("looked").includes(i) ? ["manual", "predicted"] : ["predicted"]));
  }

  rest.addEventListener("click", () => { open = true; update(); });
  again.addEventListener("click", () => { open = false; set([]); });
  const leave = listen(model, ["looked"], update, root, draw);
  scans(packed).then((list) => { unpacked = list; root.dataset.ready = "true"; draw(); });
  update();
  return leave;
}

export default { render };
