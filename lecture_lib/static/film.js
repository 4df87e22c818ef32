// A GAN of numbers as a film: stored frames, drawn here; only retraining and single steps ask the kernel.
const LOOK = {
  data: { dash: [2, 3], width: 3 },
  g: { color: "#009e73", width: 2 },
  d: { color: "#0072b2", dash: [7, 4], width: 2.5 },
  best: { color: "#d55e00", dash: [9, 3, 2, 3], width: 2 },
  other: { color: "#b65e92", dash: [2, 3], width: 2 },
};
const KEY = [
  ["data", "P_data(x)"],
  ["g", "P_G(x), exact"],
  ["d", "D(x)"],
  ["best", "D*(x), the best possible D"],
];
const TOP = 1.6; // of the density axis
const CHARTS = [
  { title: "Losses, nats (dots: 2 log 2, log 2)", lines: [["loss_d", "d", "D's"], ["loss_g", "g", "G's, −log D"]], marks: [2 * Math.LN2, Math.LN2], low: 0 },
  { title: "D's decisions (dots: one half)", lines: [["right", "d", "share right"], ["real", "best", "D on real x"], ["fake", "g", "D on G's x"]], marks: [0.5], low: 0, high: 1 },
  { title: "Exact Jensen-Shannon divergence, nats", lines: [["js", "d", "JS (dots: log 2)"]], marks: [Math.LN2], low: 0, high: 0.75 },
  { title: "Exact Wasserstein-1 distance, units of x", lines: [["w1", "d", "G"], ["w1_averaged", "best", "averaged G"]], marks: [], log: true },
];

export function readFilm(info, floats, data) {
  let at = 0;
  const take = (n) => floats.subarray(at, (at += n));
  const { cells, arrows, names } = data, n = info.steps.length;
  const film = { ...info, z: take(arrows), curve: take(cells + 1), masses: take(cells) };
  return Object.assign(film, {
    d: take(n * (cells + 1)),
    density: take(n * cells),
    x: take(n * arrows),
    series: Object.fromEntries(names.map((name) => [name, take(n)])),
  });
}

// D* of each cell: the best answer of all that are the same over a cell; NaN where nothing ever lies.
export function bestOf(masses, density) {
  return Float64Array.from(masses, (p, k) => (p + density[k] > 1e-9 ? p / (p + density[k]) : NaN));
}

function scale(from, to, low, high) {
  return (value) => from + ((to - from) * (value - low)) / (high - low);
}

function trace(c, points, { color, dash = [], width }) {
  c.beginPath();
  let pen = false;
  for (const [x, y] of points) {
    if (Number.isNaN(y)) pen = false;
    else if (pen) c.lineTo(x, y);
    else c.moveTo(x, y), (pen = true);
  }
  c.setLineDash(dash);
  Object.assign(c, { strokeStyle: color, lineWidth: width });
  c.stroke();
  c.setLineDash([]);
}

// A canvas that is as wide as its place, sharp on dense screens, redrawn when that changes.
function sheet(parent, heightOf, draw) {
  const canvas = make("canvas", parent);
  canvas.setAttribute("role", "img");
  const paint = () => {
    const width = Math.max(240, Math.min(760, Math.floor(parent.clientWidth || 760))), height = heightOf(width);
    const dense = Math.max(1, Math.min(3, globalThis.devicePixelRatio || 1));
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    const c = canvas.getContext("2d");
    c.scale(dense, dense);
    const ink = getComputedStyle(parent).color;
    Object.assign(c, { font: "12px system-ui, sans-serif", fillStyle: ink, strokeStyle: ink, lineJoin: "round" });
    draw(c, { width, height, ink });
  };
  return { canvas, paint };
}

function drawScene(c, { width, height, ink }, data, film, frame, ghost) {
  const left = 42, right = width - 42, top = 34, bottom = height - 128, ground = height - 34;
  const { low, high, cells } = data;
  const X = scale(left, right, low, high), P = scale(bottom, top, 0, TOP), D = scale(bottom, top, 0, 1);
  const edge = (k) => low + ((high - low) * k) / cells;
  const text = (said, x, y, align = "center") => {
    c.textAlign = align;
    c.fillStyle = ink;
    c.fillText(said, x, y, right - left - 8);
  };
  const faint = { color: ink, width: 0.5 };
  c.globalAlpha = 0.5;
  for (const y of [bottom, D(0.5), ground]) trace(c, [[left, y], [right, y]], y === D(0.5) ? { ...faint, dash: [1, 4], width: 1 } : faint);
  c.globalAlpha = 1;
  for (let x = Math.ceil(low); x <= high; x++) text(`${x}`.replace("-", "−"), X(x), bottom + 14);
  for (const p of [0, 0.5, 1, 1.5]) text(p.toFixed(1), left - 4, P(p) + 4, "right");
  for (const p of [0, 0.5, 1]) text(p === 0.5 ? "½" : `${p}`, right + 4, D(p) + 4, "left");
  text("density", 2, 12, "left");
  text("D: probability of “real”", width - 2, 12, "right");
  text("x", right + 14, bottom + 14);
  text("z", right + 14, ground + 4);
  text(film.prior, (left + right) / 2, ground + 16);
  // where each z is sent
  const z = film.z, Z = scale(left + 20, right - 20, z[0], z[z.length - 1]);
  c.globalAlpha = 0.8;
  let beyond = 0;
  z.forEach((code, i) => {
    const to = frame.x[i], inside = to >= low && to <= high;
    if (!inside) beyond++;
    const end = X(Math.min(high, Math.max(low, to))), from = Z(code), y = bottom + 22;
    trace(c, [[from, ground], [end, y]], { color: "#009e73", width: 1, dash: inside ? [] : [1, 3] });
    const along = Math.atan2(y - ground, end - from);
    for (const turn of [2.7, -2.7])
      trace(c, [[end, y], [end + 6 * Math.cos(along + turn), y + 6 * Math.sin(along + turn)]], { color: "#009e73", width: 1 });
  });
  c.globalAlpha = 1;
  // the curves
  c.save();
  c.beginPath();
  c.rect(left, top - 4, right - left, bottom - top + 5);
  c.clip();
  const steps = [];
  frame.density.forEach((p, k) => steps.push([X(edge(k)), P(p)], [X(edge(k + 1)), P(p)]));
  c.fillStyle = "#009e73";
  c.globalAlpha = 0.22;
  c.beginPath();
  c.moveTo(X(low), P(0));
  for (const [x, y] of steps) c.lineTo(x, y);
  c.lineTo(X(high), P(0));
  c.fill();
  c.globalAlpha = 1;
  trace(c, steps, LOOK.g);
  trace(c, Array.from(film.curve, (p, k) => [X(edge(k)), P(p)]), { ...LOOK.data, color: ink });
  const best = bestOf(film.masses, frame.density);
  trace(c, Array.from(best, (p, k) => [X(edge(k + 0.5)), D(p)]), LOOK.best);
  if (ghost) {
    c.globalAlpha = 0.4;
    trace(c, Array.from(ghost.d, (p, k) => [X(edge(k)), D(p)]), { ...LOOK.d, dash: [] });
    c.globalAlpha = 1;
  }
  trace(c, Array.from(frame.d, (p, k) => [X(edge(k)), D(p)]), LOOK.d);
  c.restore();
  const peak = frame.density.reduce((a, b) => Math.max(a, b), 0), k = frame.density.indexOf(peak);
  if (peak > TOP) text(`▲ ${peak.toFixed(1)}`, Math.min(right - 130, Math.max(left + 60, X(edge(k + 0.5)))), top - 8);
  const outside = frame.told.outside;
  if (outside >= 0.005) text(`${(100 * outside).toFixed(0)} % of P_G lies beyond this axis`, (left + right) / 2, top + 24);
}

function ticksOf({ low, high, log, marks }) {
  if (!log) return [low, ...marks, ...(high > 1.4 * Math.max(...marks) ? [high] : [])];
  const found = [];
  for (let e = Math.ceil(Math.log10(low)); e <= Math.log10(high) + 1e-9; e++) found.push(10 ** e);
  return found;
}

function spanOf(chart, film) {
  const values = chart.lines.flatMap(([name]) => [...film.series[name]]).filter(Number.isFinite);
  const most = Math.max(...values, ...chart.marks);
  if (!chart.log) return { ...chart, low: chart.low, high: chart.high ?? most * 1.05 };
  return { ...chart, low: 0.01, high: 10 ** Math.ceil(Math.log10(Math.max(1, most))) };
}

// Four small charts against the step; the place of each on the sheet is returned, so that it can be pointed at.
function drawCharts(c, { width, height, ink }, film, place) {
  const columns = width > 560 ? 2 : 1, rows = CHARTS.length / columns;
  const wide = width / columns, tall = height / rows, n = film.steps.length;
  return CHARTS.map((plain, i) => {
    const chart = spanOf(plain, film);
    const left = (i % columns) * wide + 40, right = left + wide - 54;
    const top = Math.floor(i / columns) * tall + 34, bottom = top + tall - 56;
    const of = chart.log ? (v) => Math.log10(Math.max(v, chart.low)) : (v) => v;
    const X = scale(left, right, 0, film.steps[n - 1]), Y = scale(bottom, top, of(chart.low), of(chart.high));
    c.fillStyle = ink;
    c.textAlign = "left";
    c.font = "bold 12px system-ui, sans-serif";
    c.fillText(chart.title, left - 32, top - 22, right - left + 44);
    c.font = "11px system-ui, sans-serif";
    c.globalAlpha = 0.5;
    trace(c, [[left, top], [left, bottom], [right, bottom]], { color: ink, width: 0.7 });
    for (const mark of chart.marks) trace(c, [[left, Y(of(mark))], [right, Y(of(mark))]], { color: ink, width: 1.2, dash: [1, 3] });
    c.globalAlpha = 1;
    c.textAlign = "right";
    for (const tick of ticksOf(chart)) c.fillText(+tick.toPrecision(2), left - 4, Y(of(tick)) + 4);
    c.textAlign = "center";
    for (const share of [0, 0.5, 1]) c.fillText(Math.round(share * film.steps[n - 1]), X(share * film.steps[n - 1]), bottom + 13);
    if (i >= CHARTS.length - columns) c.fillText("step", (left + right) / 2 + 40, bottom + 13);
    let at = left + 2;
    const room = (right + 12 - at) / chart.lines.length;
    for (const [name, look, label] of chart.lines) {
      const style = { ...LOOK[look], width: 1.6 };
      c.save();
      c.beginPath();
      c.rect(left, top - 2, right - left, bottom - top + 4);
      c.clip();
      trace(c, Array.from(film.series[name], (v, k) => [X(film.steps[k]), Y(of(v))]), style);
      c.restore();
      trace(c, [[at, top - 8], [at + 18, top - 8]], style);
      c.textAlign = "left";
      c.fillText(label, at + 22, top - 4, room - 26);
      at += Math.min(room, 36 + c.measureText(label).width);
    }
    const here = X(film.steps[place]);
    c.globalAlpha = 0.8;
    trace(c, [[here, top], [here, bottom]], { color: ink, width: 1.5 });
    c.globalAlpha = 1;
    return { left, right, top, bottom };
  });
}

export function render({ model, el }) {
  const data = model.get("data");
  el.classList.add("film");
  keepKeys(el);
  const key = make("div", el, "", { className: "film-key" });
  for (const [look, text] of KEY) {
    const item = make("span", key), mark = make("canvas", item, "", { width: 68, height: 20 });
    mark.setAttribute("aria-hidden", "true");
    make("span", item, text);
    const c = mark.getContext("2d");
    c.scale(2, 2);
    trace(c, [[1, 5], [33, 5]], { color: look === "data" ? "#777" : "", ...LOOK[look] });
  }
  const stage = make("div", el, "", { className: "film-stage" });
  const awake = busySign(model, stage);
  const bar = make("div", el, "", { className: "film-bar" });
  const play = make("button", bar, "▶ Play", { type: "button" });
  const label = make("label", bar);
  make("span", label, "step of training");
  const range = make("input", label, "", { type: "range", min: 0, step: 1 });
  const clock = make("output", label);
  const speedLabel = make("label", bar, "", { className: "film-speed" });
  make("span", speedLabel, "speed");
  const speed = make("select", speedLabel);
  for (const [text, fps] of [["slow", 4], ["normal", 20], ["fast", 60]]) make("option", speed, text, { value: fps });
  speed.value = "20";
  const rewind = make("button", bar, "Reset", { type: "button", title: "Back to the frame at the start" });
  const hands = make("div", el, "", { className: "film-bar" });
  make("span", hands, "from this step on, by hand:");
  const STEPS = [["step D", "D"], ["step G", "G"], ["10 × D", "D".repeat(10)], ["50 × G, D asleep", "G".repeat(50)]];
  const steppers = STEPS.map(([text, log]) => [make("button", hands, text, { type: "button" }), log]);
  const back = make("button", hands, "undo", { type: "button" });
  hands.hidden = !(data.steps && model.widget_manager); // an exported page has no kernel to answer
  const told = make("p", el, "", { className: "film-told" });
  const graphs = make("div", el, "", { className: "film-stage" });

  let film, branch = null, places = [], timer = 0, since = 0, waiting = false, own = false;
  const last = () => film.steps.length - 1;
  const at = () => Math.min(last(), Math.max(0, model.get("place")));
  function frameOf(from, i) {
    const { cells, arrows, names } = data;
    return {
      d: from.d.subarray(i * (cells + 1), (i + 1) * (cells + 1)),
      density: from.density.subarray(i * cells, (i + 1) * cells),
      x: from.x.subarray(i * arrows, (i + 1) * arrows),
      told: Object.fromEntries(names.map((name) => [name, from.series[name][i]])),
    };
  }
  const now = () => (branch ? frameOf(branch, 0) : frameOf(film, at()));
  const scene = sheet(stage, () => 400, (c, page) =>
    drawScene(c, page, data, film, now(), branch ? frameOf(film, at()) : null));
  const charts = sheet(graphs, (width) => (width > 560 ? 300 : 600), (c, page) => (places = drawCharts(c, page, film, at())));
  charts.canvas.className = "film-charts";

  function sentence() {
    const t = now().told, n = (value, digits) => value.toFixed(digits).replace("-", "−");
    const hand = branch ? ` and by hand ${branch.log}` : "";
    return [
      `step ${film.steps[at()]}${hand}`,
      `D's loss ${n(t.loss_d, 3)}`,
      `G's loss ${n(t.loss_g, 3)}`,
      `mean D on real x ${n(t.real, 3)}, on G's ${n(t.fake, 3)}`,
      `D is right on ${n(100 * t.right, 1)} %`,
      `JS ${n(t.js, 4)} nats`,
      `W1 ${n(t.w1, 3)} (averaged G ${n(t.w1_averaged, 3)})`,
      `G's mean ${n(t.mean, 2)}, sd ${n(t.sd, 2)}`,
      `slope that reaches G: ${t.reach.toPrecision(2)} by −log D, ${t.reach_minimax.toPrecision(2)} by log(1 − D)`,
    ];
  }
  function update() {
    const facts = sentence();
    range.max = last();
    range.value = at();
    clock.textContent = `${film.steps[at()]}`;
    told.replaceChildren();
    facts.forEach((fact) => make("span", told, fact));
    range.setAttribute("aria-valuetext", facts[0]);
    scene.canvas.setAttribute("aria-label", `Density of the data and of what G makes, D and the best D, and arrows from z to x. ${facts.join("; ")}.`);
    charts.canvas.setAttribute("aria-label", `Losses, D's decisions, Jensen-Shannon divergence and Wasserstein-1 distance against the step, at step ${film.steps[at()]}.`);
    back.disabled = !branch;
    scene.paint();
    charts.paint();
  }
  function load() {
    film = readFilm(model.get("film"), readFloats(model.get("weights")), data);
    branch = null;
    waiting = false;
    update();
  }
  function tell() {
    // the kernel has to forget the branch, too: the same steps again would be no change
    if (model.get("asked")?.[1]) {
      model.set("asked", [at(), ""]);
      model.set("branch", { log: "" });
    }
    branch = null;
    waiting = false;
  }
  const put = (place) => {
    own = true;
    tell();
    model.set("place", -1); // a kernel's word may have come between: what is saved next has to be this
    model.set("place", Math.min(last(), Math.max(0, place)));
    own = false;
  };
  const go = (place, keep) => {
    put(place);
    update();
    if (keep) model.save_changes();
  };
  const stop = () => {
    if (!timer) return;
    cancelAnimationFrame(timer);
    timer = 0;
    play.textContent = "▶ Play";
    model.save_changes();
  };
  const tick = (time) => {
    const frames = Math.floor(((time - since) * Number(speed.value)) / 1000);
    if (frames > 0) {
      since = time;
      go(at() + frames, false);
    }
    if (at() >= last()) return stop();
    timer = requestAnimationFrame(tick);
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (at() >= last()) go(0, false);
    play.textContent = "⏸ Pause";
    since = performance.now();
    timer = requestAnimationFrame(tick);
  });
  range.addEventListener("input", () => (stop(), go(Number(range.value), false)));
  range.addEventListener("change", () => model.save_changes());
  rewind.addEventListener("click", () => (stop(), go(data.start, true)));
  for (const [button, log] of steppers)
    button.addEventListener("click", () => {
      if (waiting) return;
      stop();
      const [place, before] = model.get("asked");
      waiting = true;
      model.set("asked", [at(), (place === at() ? before : "") + log]);
      model.save_changes();
    });
  back.addEventListener("click", () => (go(at(), true)));
  let held = false;
  const seek = (event) => {
    const box = charts.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const chart = places.find((p) => x > p.left - 10 && x < p.right + 10 && y > p.top - 10 && y < p.bottom + 10);
    if (chart) go(Math.round(((x - chart.left) / (chart.right - chart.left)) * last()), false);
  };
  charts.canvas.addEventListener("pointerdown", (event) => {
    stop();
    held = true;
    charts.canvas.setPointerCapture(event.pointerId);
    seek(event);
  });
  charts.canvas.addEventListener("pointermove", (event) => held && seek(event));
  charts.canvas.addEventListener("lostpointercapture", () => {
    held = false;
    model.save_changes();
  });
  const onBranch = () => {
    if (own) return;
    waiting = false;
    const info = model.get("branch");
    branch = info.log ? readFilm(info, readFloats(model.get("branch_weights")), data) : null;
    update();
  };
  const onPlace = () => {
    if (own) return;
    if (timer) put(Number(range.value)); // an echo of where it was: the page is further
    else update();
  };
  const onBack = (told) => told.back && (stop(), go(data.start, true));
  const onAsked = () => (waiting = waiting && Boolean(model.get("asked")[1])); // no, if the kernel could not
  model.on("change:weights", load);
  model.on("change:branch", onBranch);
  model.on("change:place", onPlace);
  model.on("change:asked", onAsked);
  model.on("msg:custom", onBack);
  load();
  if (model.get("branch")?.log) onBranch();
  const watcher = new ResizeObserver(() => (scene.paint(), charts.paint()));
  watcher.observe(el);
  // another theme: film.css makes a transition of it, which ends, or which the last style sheet cuts short
  const recoloured = (event) => event.target === el && (scene.paint(), charts.paint());
  for (const end of ["transitionend", "transitioncancel"]) el.addEventListener(end, recoloured);
  return () => {
    stop();
    awake();
    watcher.disconnect();
    for (const end of ["transitionend", "transitioncancel"]) el.removeEventListener(end, recoloured);
    model.off("change:weights", load);
    model.off("change:branch", onBranch);
    model.off("change:place", onPlace);
    model.off("change:asked", onAsked);
    model.off("msg:custom", onBack);
  };
}
export default { render };
