// A pad over two directions of style; ten digits follow the pointer. The decoder runs here, in the page.
const SVG_NS = "http://www.w3.org/2000/svg";

export function styleAt(data, [across, up, hand]) {
  return data.hands[hand].map((rest, k) => rest + across * data.directions[0][k] + up * data.directions[1][k]);
}

function render({ model, el }) {
  const data = model.get("data"), { size, reach } = data;
  const net = readNet(data.net, readFloats(model.get("weights")));
  el.classList.add("style-widget");
  keepKeys(el);
  const row = make("div", el, "", { className: "style-row" });
  const left = make("div", row, "", { className: "style-left" });
  const svg = document.createElementNS(SVG_NS, "svg");
  svg.setAttribute("viewBox", "0 0 300 300");
  svg.setAttribute("class", "style-pad");
  svg.setAttribute("role", "application"); // it takes the arrow keys
  svg.setAttribute("aria-roledescription", "pad");
  svg.setAttribute("tabindex", "0");
  const place = (value) => 150 + (140 * value) / reach;
  const rings = [1, 2].map((r) => `<circle cx="150" cy="150" r="${(140 * r) / reach}" class="style-ring"/>
    <text x="${150 + (140 * r) / reach / Math.SQRT2 + 4}" y="${150 - (140 * r) / reach / Math.SQRT2 - 3}">${r} sd</text>`);
  svg.innerHTML = `<rect x="10" y="10" width="280" height="280" class="style-frame"/>
    <path d="M10 150 H290 M150 10 V290" class="style-cross"/>${rings.join("")}
    <text x="16" y="145">${data.ends[0][0]}</text><text x="284" y="145" text-anchor="end">${data.ends[0][1]}</text>
    <text x="154" y="284">${data.ends[1][0]}</text><text x="154" y="24">${data.ends[1][1]}</text>
    <circle r="9" class="style-dot"/>`;
  left.append(svg);
  const dot = svg.querySelector(".style-dot");
  const sliders = data.labels.map((text) => slider(left, text, { min: -reach, max: reach, step: 0.05 }));
  const bar = make("div", left, "", { className: "style-bar" });
  const another = make("button", bar, "Another hand", { type: "button" });
  const reset = make("button", bar, "Reset", { type: "button" });
  const right = make("div", row, "", { className: "style-right" });
  const { write } = tenDigits(right, net, size);
  const told = make("p", right, "", { className: "style-told" });

  let shown = null;
  function update() {
    const at = model.get("place");
    if (at === shown) return; // model.set has led here already
    shown = at;
    const images = write(styleAt(data, at));
    dot.setAttribute("cx", place(at[0]));
    dot.setAttribute("cy", place(-at[1]));
    sliders.forEach(({ show }, k) => show(at[k], `${signed(at[k], 2)} sd`));
    const lean = mean(images.map((image) => slant(image, size))), much = mean(images.map(ink));
    told.textContent = `measured on these ten: mean slant ${signed(lean, 1)}°, mean ink ${much.toFixed(3)} (hand ${at[2] + 1} of ${data.hands.length})`;
    svg.setAttribute("aria-label", `Pad of styles, at ${signed(at[0], 2)} and ${signed(at[1], 2)}; ${told.textContent}`);
  }
  const go = (across, up, hand, keep) => {
    const inside = (value) => Math.min(reach, Math.max(-reach, value));
    model.set("place", [inside(across), inside(up), hand]);
    update();
    if (keep) model.save_changes();
  };
  const grab = (event) => {
    const box = svg.getBoundingClientRect(), [, , hand] = model.get("place");
    const at = (part, whole) => ((part / whole) * 300 - 150) / 140 * reach;
    go(at(event.clientX - box.left, box.width), -at(event.clientY - box.top, box.height), hand, false);
  };
  let held = false;
  svg.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    held = true;
    svg.setPointerCapture(event.pointerId);
    grab(event);
  });
  svg.addEventListener("pointermove", (event) => held && event.isPrimary && grab(event));
  svg.addEventListener("lostpointercapture", () => {
    if (!held) return;
    held = false;
    model.save_changes();
  });
  const STEPS = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
  svg.addEventListener("keydown", (event) => {
    const step = STEPS[event.key], [across, up, hand] = model.get("place");
    if (!step) return;
    event.preventDefault();
    go(across + step[0], up + step[1], hand, true);
  });
  sliders.forEach(({ range }, k) => {
    range.addEventListener("input", () => {
      const at = [...model.get("place")];
      at[k] = Number(range.value);
      go(...at, false);
    });
    range.addEventListener("change", () => model.save_changes());
  });
  another.addEventListener("click", () => {
    const [across, up, hand] = model.get("place");
    go(across, up, (hand + 1) % data.hands.length, true);
  });
  reset.addEventListener("click", () => go(...data.start, true));
  model.on("change:place", update);
  update();
  return () => model.off("change:place", update);
}
export default { render };
