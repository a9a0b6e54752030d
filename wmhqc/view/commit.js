// Commit first: answer, say how sure you are, and only then see the result.

function render({ model, el }) {
  const data = model.get("data"), { question, kind, options } = data;
  const chance = kind === "choice" ? 1 / options.length : 0;
  const least = Math.ceil(10 * chance) / 10; // sure below chance means another answer

  const root = html("div", { class: "wmhqc commit", role: "group", "aria-label": "Predict first" });
  const form = html("form", { class: "answer" });
  const id = `q${Math.random().toString(36).slice(2)}`; // names of the buttons of one question belong together
  const fields = { choice, number, order }[kind]();
  const sure = html("input", { type: "range", min: 100 * least, max: 100, step: 10, value: Math.max(100 * least, 70), "aria-label": "How sure are you?" });
  const how = html("output", { class: "value" });
  const button = html("button", { type: "submit" }, "Commit");
  const skip = html("button", { type: "button", class: "skip" }, "Show without answering");
  const result = html("div", { class: "result", role: "status" });
  form.append(fields.node, html("div", { class: "control" }, html("span", {}, "How sure are you?"), how, sure),
    html("div", { class: "buttons" }, button, skip));
  root.append(html("p", {}, html("strong", {}, "Predict first. "), question), form, result);
  el.replaceChildren(root);

  // Each kind of question: its node, what was answered (null: nothing yet), and how an answer is shown again.
  function choice() {
    const inputs = options.map((value) => html("input", { type: "radio", name: id, value }));
    const node = html("fieldset", {}, html("legend", { class: "spoken" }, question),
      ...inputs.map((input, k) => html("label", {}, input, options[k])));
    return {
      node, get: () => inputs.find((input) => input.checked)?.value ?? null, right: (said) => said === data.answer,
      set: (said) => inputs.forEach((input) => { input.checked = input.value === said; }), spoken: (said) => said,
    };
  }

  function number() {
    const input = html("input", { type: "number", step: "any", "aria-label": question });
    return {
      node: html("div", { class: "control" }, input, html("span", {}, data.unit)),
      get: () => (input.value === "" || !Number.isFinite(Number(input.value)) ? null : Number(input.value)),
      right: (said) => Math.abs(said - data.answer) <= data.within * (1 + 1e-9), set: (said) => { input.value = said; },
      spoken: (said) => `${short(said)} ${data.unit}`.trim(),
    };
  }

  function order() {
    let said = [...options].sort(), touched = false;
    const list = html("ol");
    const rows = new Map(options.map((name) => {
      const move = (step, word) => {
        const node = html("button", { type: "button", "aria-label": `Move ${name} ${word}` }, step < 0 ? "↑" : "↓");
        node.addEventListener("click", () => {
          const from = said.indexOf(name), to = from + step;
          touched = true;
          if (to >= 0 && to < said.length) [said[from], said[to]] = [said[to], said[from]];
          fill();
          node.focus();
          update();
        });
        return node;
      };
      return [name, html("li", {}, html("span", {}, name), move(-1, "up"), move(1, "down"))];
    }));
    const fill = () => list.replaceChildren(...said.map((name) => rows.get(name)));
    fill();
    return {
      node: list, get: () => (touched ? [...said] : null), right: (answer) => answer.every((name, k) => name === data.answer[k]),
      set: (answer) => { said = [...answer]; touched = true; fill(); }, spoken: (answer) => answer.join(", "),
    };
  }

  // The folded output of the next cell, unless another question comes first.
  function unfold() {
    const after = (node) => root.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING;
    const next = [...document.querySelectorAll(".wmhqc.commit, details.hide:is(.below-input, .above-output)")].find((node) => node !== root && after(node));
    if (next?.tagName === "DETAILS") next.open = true;
  }

  function close(said) {
    const right = said && fields.right(said.answer);
    const verdict = said ? `You said ${fields.spoken(said.answer)}, ${Math.round(100 * said.sure)} % sure: ${right ? "right" : "not so"}. ` : "";
    result.replaceChildren(html("p", { class: "summary" }, verdict, `Answer: ${data.spoken}.`), html("p", {}, data.because));
    for (const node of form.querySelectorAll("input, button")) node.disabled = true;
    root.dataset.right = said ? right : "";
    root.dataset.done = "true";
    form.hidden = true;
    unfold();
  }

  function update() {
    how.textContent = `${sure.value} %`;
    button.disabled = fields.get() === null;
  }

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const said = { answer: fields.get(), sure: Number(sure.value) / 100 };
    const all = remembered();
    remember({ ...all, [question]: { ...said, right: fields.right(said.answer) } });
    model.set("said", { ...said, right: fields.right(said.answer) });
    model.save_changes();
    close(said);
  });
  skip.addEventListener("click", () => close(null));
  update();
  const before = remembered()[question];
  if (before && before.answer != null) close(before);
  return () => {};
}

export default { render };
