// One slider moves along the code line; each model's decoder runs here, in the page. No kernel needed.
// The weights come once: the true moons, then the decoder of each model.
const SVG = "http://www.w3.org/2000/svg";

export function nearest(image, moons, phases) {
  let best = { distance: Infinity };
  for (let k = 0; k < phases.length; k++) {
    let sum = 0;
    for (let i = 0; i < image.length; i++) sum += (image[i] - moons[k * image.length + i]) ** 2;
    const distance = Math.sqrt(sum / image.length);
    if (distance < best.distance) best = { distance, phase: phases[k], index: k };
  }
  return best;
}

function codeLine(parent, model) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 400 74");
  svg.setAttribute("role", "img");
  const place = (code) => 10 + (380 * (code - model.low)) / (model.high - model.low);
  const told = model.codes.map((c, i) => `${model.phases[i]}° at ${c.toFixed(2)}${model.sds ? ` ± ${model.sds[i].toFixed(2)}` : ""}`);
  svg.setAttribute("aria-label", `Codes of the training moons: ${told.join(", ")}`);
  const every = Math.ceil(model.codes.length / 8);
  const bands = model.codes.map((code, i) => {
    const x = place(code), half = model.sds ? Math.abs(place(code + model.sds[i]) - x) : 0;
    const points = [];
    if (half) for (let t = -3; t <= 3.001; t += 0.25) points.push(`${x + t * half},${56 - 34 * Math.exp((-t * t) / 2)}`);
    return `${half ? `<polyline points="${points.join(" ")}" class="moon-band"/>` : ""}
      <line x1="${x}" x2="${x}" y1="22" y2="56" class="moon-code"/>
      ${i % every ? "" : `<text x="${x}" y="${(i / every) % 2 ? 10 : 19}" text-anchor="middle">${model.phases[i]}°</text>`}`;
  });
  svg.innerHTML = `${bands.join("")}<line x1="10" x2="390" y1="56" y2="56" class="moon-axis"/>
    <text x="10" y="70">${model.low.toFixed(1)}</text><text x="390" y="70" text-anchor="end">${model.high.toFixed(1)}</text>
    <path d="M0 56 l-6 11 h12 z" class="moon-here"/>`;
  parent.append(svg);
  const here = svg.querySelector(".moon-here");
  return (code) => here.setAttribute("transform", `translate(${place(code)} 0)`);
}

function render({ model, el }) {
  const data = model.get("data"), size = data.size;
  const floats = readFloats(model.get("weights"));
  const moons = floats.subarray(0, data.phases.length * size * size);
  let at = moons.length;
  el.classList.add("moon-slider");
  const bar = make("div", el, "", { className: "moon-bar" });
  const label = make("label", bar);
  make("span", label, data.label);
  const range = make("input", label, "", { type: "range", min: 0, max: 1, step: 0.002, value: model.get("place") });
  const reset = make("button", bar, "Reset", { type: "button" });
  const row = make("div", el, "", { className: "moon-row" });

  const columns = data.models.map((m) => {
    const net = readNet(m.net, floats, at);
    at += m.net.count;
    const card = make("section", row, "", { className: "moon-card" });
    make("h4", card, m.name);
    const pair = make("div", card, "", { className: "moon-pair" });
    const [drawn, truth] = ["decoded", "nearest true moon"].map((caption) => {
      const box = make("figure", pair);
      const canvas = make("canvas", box, "", { width: size, height: size });
      canvas.setAttribute("role", "img");
      return { canvas, caption: make("figcaption", box, caption) };
    });
    const move = codeLine(card, m);
    return { m, net, drawn, truth, move };
  });

  function update() {
    const place = Math.min(1, Math.max(0, model.get("place")));
    range.value = place;
    const said = columns.map(({ m, net, drawn, truth, move }) => {
      const code = m.low + place * (m.high - m.low);
      const image = run(net, [code]);
      const near = nearest(image, moons, data.phases);
      paint(drawn.canvas, image, size);
      paint(truth.canvas, moons.subarray(near.index * size * size, (near.index + 1) * size * size), size);
      drawn.caption.textContent = `decoded from ${data.symbol} = ${code.toFixed(2)}`;
      truth.caption.textContent = `nearest true moon: ${near.phase}°, ${near.distance.toFixed(3)} away`;
      drawn.canvas.setAttribute("aria-label", `${m.name}: moon decoded from code ${code.toFixed(2)}`);
      truth.canvas.setAttribute("aria-label", truth.caption.textContent);
      move(code);
      return `${m.name}: code ${code.toFixed(2)}, nearest true moon ${near.phase}°`;
    });
    range.setAttribute("aria-valuetext", said.join("; "));
  }
  const go = (place) => {
    model.set("place", place);
    update();
  };
  keepKeys(range);
  range.addEventListener("input", () => go(Number(range.value)));
  range.addEventListener("change", () => model.save_changes());
  reset.addEventListener("click", () => {
    go(data.start);
    model.save_changes();
  });
  model.on("change:place", update);
  update();
  return () => model.off("change:place", update);
}
export default { render };
