// Draws the curves of a job, or of several over each other, and keeps them up to date.
"use strict";

(() => {
  const root = document.querySelector("[data-charts]");
  if (!root) return;
  const HEIGHT = 230;
  const TABLE_ROWS = 60;
  const RELOAD_AFTER = 4000; // points that came one by one; then the server thins them out again
  const form = root.querySelector("form");
  const empty = root.querySelector(".chart-empty");
  const language = document.documentElement.lang;
  const number = new Intl.NumberFormat(language, { maximumSignificantDigits: 4 });
  const sources = JSON.parse(root.dataset.sources).map((source) => ({ ...source, curves: {}, after: null, added: 0 }));
  const charts = [...root.querySelectorAll("[data-metrics]")].map((figure) => ({
    figure,
    metrics: figure.dataset.metrics.split(" "),
    names: figure.dataset.metrics.split(" ").map((_, place) => figure.getAttribute(`data-name-${place}`)),
    box: figure.querySelector(".plot"),
    plot: null,
    look: "",
  }));
  let loading = false;
  empty.textContent = root.dataset.loading;

  // A colour of the theme as a canvas takes it: `light-dark()` is resolved only on an element.
  function ink(name) {
    const probe = root.appendChild(document.createElement("i"));
    probe.className = `ink ${name}`;
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  }

  async function load(source) {
    const query = source.after ? `?after=${encodeURIComponent(source.after)}` : "";
    const answer = await fetch(source.url + query, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.status);
    const told = await answer.json();
    for (const [name, curve] of Object.entries(told.curves)) {
      const known = source.after && source.curves[name];
      source.curves[name] = known
        ? { steps: known.steps.concat(curve.steps), values: known.values.concat(curve.values) }
        : curve;
    }
    if (source.after) source.added += told.n_steps;
    source.after = told.last_event_id;
    if (source.added > RELOAD_AFTER) Object.assign(source, { after: null, added: 0 });
  }

  // An exponential moving average that does not begin at zero.
  function smoothed(values, weight) {
    let mean = 0;
    let rest = 1;
    return values.map((value) => {
      mean = weight * mean + (1 - weight) * value;
      rest *= weight;
      return mean / (1 - rest);
    });
  }

  function lines(chart) {
    const weight = Number(form.smooth.value);
    const window_ = Number(form.window.value);
    const found = [];
    sources.forEach((source, nth) => {
      chart.metrics.forEach((metric, place) => {
        const curve = source.curves[metric];
        if (!curve) return;
        const from = window_ ? curve.steps.findIndex((step) => step > curve.steps.at(-1) - window_) : 0;
        const steps = curve.steps.slice(from);
        const values = curve.values.slice(from);
        const alone = sources.length === 1;
        const label = alone ? chart.names[place] : chart.metrics.length > 1 ? `${source.label} · ${chart.names[place]}` : source.label;
        const line = { label, steps, values, ink: (alone ? place : nth) % 6, dash: !alone && place > 0 };
        const isNoisy = weight > 0 && steps.length > 2;
        found.push({ ...line, isFaint: isNoisy });
        if (isNoisy) found.push({ ...line, values: smoothed(values, weight), isSmooth: true });
      });
    });
    return found;
  }

  function options(chart, drawn) {
    const [text, grid] = [ink("ink-text"), ink("ink-line")];
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px sans-serif" };
    const shown = (_, ticks) => ticks.map((tick) => (tick === null ? "" : number.format(tick)));
    return {
      width: chart.box.clientWidth || 300,
      height: HEIGHT,
      cursor: { drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { distr: form.log.checked ? 3 : 1 } },
      axes: [
        { ...axis, values: shown },
        { ...axis, size: 64, values: shown },
      ],
      series: [
        { label: root.dataset.step },
        ...drawn.map((line) => ({
          label: line.label,
          stroke: ink(`ink-${line.ink}`),
          alpha: line.isFaint ? 0.3 : 1,
          width: line.isFaint ? 1 : 1.75,
          dash: line.dash ? [5, 4] : undefined,
          spanGaps: true,
          points: { show: line.steps.length < 25 && !line.isFaint, fill: ink("ink-ground") },
          value: (_, value) => (value === null ? "–" : number.format(value)),
        })),
      ],
    };
  }

  function draw(chart) {
    const drawn = lines(chart);
    chart.figure.hidden = drawn.length === 0;
    if (chart.figure.hidden) return;
    const isLog = form.log.checked;
    const values = (line) => (isLog ? line.values.map((value) => (value > 0 ? value : null)) : line.values);
    const data = uPlot.join(drawn.map((line) => [line.steps, values(line)]));
    const look = JSON.stringify([isLog, drawn.map(({ label, ink, isFaint, isSmooth, steps }) => [label, ink, isFaint, isSmooth, steps.length < 25])]);
    if (chart.plot && look === chart.look) chart.plot.setData(data);
    else {
      chart.plot?.destroy();
      chart.plot = new uPlot(options(chart, drawn), data, chart.box);
      chart.look = look;
    }
    describe(chart, drawn.filter((line) => !line.isSmooth));
  }

  function describe(chart, drawn) {
    const sentences = drawn.map(({ label, steps, values }) => {
      const lowest = values.reduce((best, value, place) => (value < values[best] ? place : best), 0);
      const told = {
        name: label,
        first: number.format(values[0]),
        at_first: steps[0],
        last: number.format(values.at(-1)),
        at_last: steps.at(-1),
        lowest: number.format(values[lowest]),
        at_lowest: steps[lowest],
      };
      return root.dataset.summary.replace(/\{(\w+)\}/g, (_, name) => told[name]);
    });
    chart.box.setAttribute("aria-label", sentences.join(" "));
    if (chart.figure.querySelector("details").open) tabulate(chart, drawn);
  }

  function tabulate(chart, drawn) {
    const all = [...new Set(drawn.flatMap((line) => line.steps))].sort((a, b) => a - b);
    const every = Math.ceil(all.length / TABLE_ROWS);
    const steps = all.filter((_, place) => (all.length - 1 - place) % every === 0);
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const title of [root.dataset.step, ...drawn.map((line) => line.label)]) {
      const cell = head.appendChild(document.createElement("th"));
      cell.scope = "col";
      cell.textContent = title;
    }
    const found = drawn.map((line) => new Map(line.steps.map((step, place) => [step, line.values[place]])));
    const body = table.createTBody();
    for (const step of steps) {
      const row = body.insertRow();
      row.insertCell().textContent = step;
      for (const values of found) row.insertCell().textContent = values.has(step) ? number.format(values.get(step)) : "–";
    }
    chart.figure.querySelector(".chart-table").replaceChildren(table);
  }

  function drawAll() {
    charts.forEach(draw);
    const isEmpty = charts.every((chart) => chart.figure.hidden);
    empty.hidden = !isEmpty;
    empty.textContent = empty.dataset.empty;
    form.hidden = isEmpty;
  }

  async function update() {
    if (loading) return;
    loading = true;
    try {
      await Promise.all(sources.map(load));
      drawAll();
    } catch {
      if (charts.every((chart) => chart.figure.hidden)) empty.textContent = root.dataset.failed;
    } finally {
      loading = false;
    }
  }

  function redraw() {
    for (const chart of charts) chart.look = "";
    drawAll();
  }

  function savePicture(chart) {
    const from = chart.plot.ctx.canvas;
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [from.width, from.height];
    const context = picture.getContext("2d");
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, picture.width, picture.height);
    context.drawImage(from, 0, 0);
    picture.toBlob((blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${sources.map((source) => source.id).join("-").slice(0, 80)}-${chart.figure.dataset.chart}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
  }

  form.addEventListener("input", drawAll);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("live", update);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  for (const chart of charts) {
    chart.figure.querySelector("[data-png]").addEventListener("click", () => savePicture(chart));
    chart.figure.querySelector("details").addEventListener("toggle", () => draw(chart));
    new ResizeObserver(() => {
      const width = chart.box.clientWidth;
      if (chart.plot && width && width !== chart.plot.width) chart.plot.setSize({ width, height: HEIGHT });
    }).observe(chart.box);
  }
  update();
})();
