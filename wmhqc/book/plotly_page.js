(() => {
  // A classic script: currentScript is known, and a page opened from a file may load another.
  const place = document.currentScript.parentElement;
  const figure = JSON.parse(place.querySelector("script").textContent);
  const page = document.documentElement;

  // plotly.min.js (5 MB) is asked for once, by the first figure that comes near the window.
  const library = () => (window.wmhqcPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${page.dataset.content_root ?? "./"}_static/plotly.min.js`;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error(`cannot load ${script.src}`));
    document.head.append(script);
  }));

  // A long name broken at the space nearest its middle.
  function halved(name) {
    const far = (space) => Math.abs(space.index - name.length / 2);
    const [space] = [...name.matchAll(/ /g)].sort((a, b) => far(a) - far(b));
    return space && name.length > 16 ? `${name.slice(0, space.index)}<br>${name.slice(space.index + 1)}` : name;
  }

  // Ground, ink, margins and width are the page's; the rest is as the figure sets it.
  function themed() {
    const dark = page.dataset.theme === "dark";
    const ink = dark ? "#e6eaf0" : "#1b2430", line = dark ? "#39424e" : "#d9dee5";
    const layout = structuredClone(figure.layout);
    const base = ((layout.template ??= {}).layout ??= {});
    Object.assign(base, {
      hoverlabel: { bgcolor: dark ? "#262d36" : "#ffffff", bordercolor: line, font: { color: ink } },
      colorway: dark
        ? ["#74b7f2", "#ffa45c", "#5fd0b0", "#e39ad0", "#e3d26f", "#b9c2cd"]
        : ["#1764a8", "#b4490a", "#00765a", "#a03a86", "#7a6a00", "#56616f"],
    });
    const axes = new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))]);
    for (const axis of axes) {
      base[axis] = { ...base[axis], gridcolor: line, zerolinecolor: line, zerolinewidth: 1, linecolor: line, automargin: true };
    }
    const narrow = place.clientWidth < 520;
    const names = figure.data[0]?.y;
    if (narrow && typeof names?.[0] === "string") { // names of rows: in two lines, so that the plot keeps its width
      layout.yaxis = { ...layout.yaxis, tickmode: "array", tickvals: names, ticktext: names.map(halved) };
      if (layout.height) layout.height = Math.round(1.45 * layout.height);
    }
    if (narrow) base.legend = { orientation: "h", y: -0.25 };
    if (typeof layout.title === "string") layout.title = { text: layout.title };
    if (layout.title) Object.assign(layout.title, { x: 0, xref: "container", pad: { l: 8 }, font: { size: narrow ? 14 : 17 } });
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode ??= false; // a finger scrolls the page
    return {
      ...layout, autosize: true, width: undefined,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: narrow ? { l: 48, r: 12, t: 44, b: 48 } : { l: 60, r: 24, t: 52, b: 56 },
      font: { size: 14, ...layout.font, color: ink, family: getComputedStyle(place).fontFamily },
    };
  }

  const draw = () => window.Plotly.react(place, figure.data, themed(), { displayModeBar: false });
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    library().then(() => {
      draw();
      new MutationObserver(draw).observe(page, { attributeFilter: ["data-theme"] });
      let width = place.clientWidth; // Plotly's own `responsive` loses a change that comes while it draws
      new ResizeObserver(() => {
        if (place.clientWidth === width) return;
        width = place.clientWidth;
        requestAnimationFrame(draw);
      }).observe(place);
    });
  }, { rootMargin: "300px" });
  // Only once everything above has its height.
  if (document.readyState === "complete") near.observe(place);
  else window.addEventListener("load", () => near.observe(place));
})();
