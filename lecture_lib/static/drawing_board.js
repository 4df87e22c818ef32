// Draw a digit; the page finds its style and writes all ten digits in it. All networks run here.
// Strokes are lists of points [x, y] in units of the board, x to the right and y down, both from 0 to 1.
const SIZE = 28, BOX = 20, BOARD = 280;

// As lecture_lib/strokes.py: brightness is what a round pen covers of a pixel.
export function render28(strokes, width) {
  const reach = width / 2 + 0.5;
  const nearest = new Float64Array(SIZE * SIZE).fill(Infinity); // squared distances
  const first = (value) => Math.max(0, Math.ceil(value - reach));
  const last = (value) => Math.min(SIZE - 1, Math.floor(value + reach));
  for (const stroke of strokes)
    for (let k = Math.min(1, stroke.length - 1); k < stroke.length; k++) {
      const [x0, y0] = stroke[Math.max(0, k - 1)], [x1, y1] = stroke[k];
      const dx = x1 - x0, dy = y1 - y0;
      const length = Math.max(dx * dx + dy * dy, 1e-12);
      const right = last(Math.max(x0, x1)), bottom = last(Math.max(y0, y1));
      for (let y = first(Math.min(y0, y1)); y <= bottom; y++)
        for (let x = first(Math.min(x0, x1)); x <= right; x++) {
          const share = Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length));
          const squared = (x - x0 - share * dx) ** 2 + (y - y0 - share * dy) ** 2;
          if (squared < nearest[y * SIZE + x]) nearest[y * SIZE + x] = squared;
        }
    }
  return nearest.map((squared) => Math.min(1, Math.max(0, reach - Math.sqrt(squared))));
}

// As strokes.as_mnist: the ink fits a box of 20 x 20 pixels, its centre of mass is in the middle.
export function asMnist(strokes, width) {
  const points = strokes.flat();
  const low = [0, 1].map((k) => points.reduce((a, p) => Math.min(a, p[k]), Infinity));
  const high = [0, 1].map((k) => points.reduce((a, p) => Math.max(a, p[k]), -Infinity));
  const extent = Math.max(high[0] - low[0], high[1] - low[1]);
  const scale = extent > 0 ? (BOX - width) / extent : 1;
  const put = (p, k) => SIZE / 2 + scale * (p[k] - (low[k] + high[k]) / 2);
  const placed = strokes.map((s) => s.map((p) => [put(p, 0), put(p, 1)]));
  const seen = render28(placed, width);
  let total = 0, right = 0, down = 0;
  seen.forEach((value, i) => {
    total += value;
    right += value * (i % SIZE);
    down += value * Math.floor(i / SIZE);
  });
  const [sx, sy] = [SIZE / 2 - right / total, SIZE / 2 - down / total];
  return render28(placed.map((s) => s.map(([x, y]) => [x + sx, y + sy])), width);
}

export function softmax(logits) {
  const top = Math.max(...logits);
  const all = Array.from(logits, (v) => Math.exp(v - top));
  const sum = all.reduce((a, b) => a + b, 0);
  return all.map((v) => v / sum);
}

function render({ model, el }) {
  const data = model.get("data");
  const floats = readFloats(model.get("weights"));
  const encoder = readNet(data.encoder, floats);
  const decoder = readNet(data.decoder, floats, data.encoder.count);
  const reader = readNet(data.reader, floats, data.encoder.count + data.decoder.count);
  el.classList.add("style-widget");
  keepKeys(el);
  const row = make("div", el, "", { className: "style-row" });
  const left = make("div", row, "", { className: "style-left" });
  const board = make("canvas", left, "", { width: BOARD, height: BOARD, className: "style-board" });
  board.setAttribute("role", "img");
  const pen = slider(left, "pen width (pixels of 28)", { min: 1.5, max: 5, step: 0.1 });
  const bar = make("div", left, "", { className: "style-bar" });
  const button = (text) => make("button", bar, text, { type: "button" });
  const [undo, clear, example, reset] = ["Undo", "Clear", "Write an example", "Reset"].map(button);
  const right = make("div", row, "", { className: "style-right" });
  const top = make("div", right, "", { className: "style-read" });
  const seenBox = make("figure", top, "", { className: "style-seen" });
  const seen = make("canvas", seenBox, "", { width: SIZE, height: SIZE });
  seen.setAttribute("role", "img");
  make("figcaption", seenBox, "what the network sees");
  const choose = make("div", top, "", { className: "style-choose" });
  choose.setAttribute("role", "radiogroup");
  choose.setAttribute("aria-label", "which digit is it?");
  make("p", choose, "Which digit is it? Press another if the proposal is wrong.");
  const labels = make("div", choose, "", { className: "style-labels" });
  const choices = Array.from({ length: decoder.classes }, (_, digit) => {
    const b = make("button", labels, String(digit), { type: "button" });
    b.setAttribute("role", "radio");
    b.addEventListener("click", () => put({ label: digit }));
    return b;
  });
  // as radio buttons do: Tab goes to the one that is chosen, arrow keys choose the one beside it
  const ARROWS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  labels.addEventListener("keydown", (event) => {
    const step = ARROWS[event.key], digit = choices.indexOf(event.target);
    if (!step || digit < 0) return;
    event.preventDefault();
    const next = (digit + step + choices.length) % choices.length;
    choices[next].focus();
    put({ label: next });
  });
  const proposal = make("p", choose);
  proposal.setAttribute("aria-live", "polite");
  const { cells, write, blank } = tenDigits(right, decoder, SIZE);
  const told = make("p", right, "", { className: "style-told" });

  function drawBoard(strokes, width) {
    const context = board.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, BOARD, BOARD);
    const all = strokes.flat();
    const extent = Math.max(...[0, 1].map((k) => Math.max(...all.map((p) => p[k])) - Math.min(...all.map((p) => p[k]))));
    // as wide on the board as it will be in the picture, once the digit is brought to its size
    context.lineWidth = Math.min(40, (BOARD * Math.max(extent, 0.3) * width) / (BOX - width)) || 20;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = "#fff";
    for (const stroke of strokes) {
      context.beginPath();
      stroke.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](x * BOARD, y * BOARD));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * BOARD + 0.01, stroke[0][1] * BOARD);
      context.stroke();
    }
  }

  // The label that counts, and the share that the reader gives to each; -1 for none.
  function mark(label, shares) {
    cells.forEach(({ box }, digit) => box.classList.toggle("style-own", digit === label));
    choices.forEach((b, digit) => {
      b.disabled = label < 0;
      b.tabIndex = digit === label ? 0 : -1;
      b.setAttribute("aria-checked", String(digit === label));
      b.style.setProperty("--share", `${100 * (shares?.[digit] ?? 0)}%`);
    });
  }

  function update() {
    const strokes = model.get("strokes"), width = model.get("width");
    pen.show(width, width.toFixed(1));
    drawBoard(strokes, width);
    if (!strokes.length) {
      paint(seen, new Float64Array(SIZE * SIZE), SIZE);
      blank();
      mark(-1);
      proposal.textContent = "";
      told.textContent = "Draw a digit on the black board: mouse, pen or finger.";
      board.setAttribute("aria-label", "An empty drawing board");
      seen.setAttribute("aria-label", "Nothing yet");
      return;
    }
    const image = asMnist(strokes, width);
    paint(seen, image, SIZE);
    const shares = softmax(run(reader, image));
    const best = shares.indexOf(Math.max(...shares));
    const label = model.get("label") < 0 ? best : model.get("label");
    const z = run(encoder, image, label).slice(0, data.latent);
    const images = write(z);
    mark(label, shares);
    proposal.textContent = `proposed: ${best} (${(100 * shares[best]).toFixed(0)} %)${label === best ? "" : `; you say: ${label}`}`;
    const own = [slant(image, SIZE), ink(image)];
    const ten = [mean(images.map((i) => slant(i, SIZE))), mean(images.map(ink))];
    told.textContent = `yours: slant ${signed(own[0], 1)}°, ink ${own[1].toFixed(3)}; the ten, in the mean: slant ${signed(ten[0], 1)}°, ink ${ten[1].toFixed(3)}`;
    board.setAttribute("aria-label", `Drawing board with ${strokes.length} strokes, read as ${best}`);
    seen.setAttribute("aria-label", "The drawing, sized and centred as the training digits are");
  }

  const soon = beforeFrame(update);
  const put = (changes, keep = true) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    soon();
    if (keep) model.save_changes();
  };
  const point = (event) => {
    const box = board.getBoundingClientRect();
    const share = (part, whole) => Math.min(1, Math.max(0, part / whole));
    return [share(event.clientX - box.left, box.width), share(event.clientY - box.top, box.height)];
  };
  let last = null, shown = data.first;
  board.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button) return;
    event.preventDefault(); // no text is selected on the way
    board.setPointerCapture(event.pointerId);
    last = point(event);
    // the example gives way to the first stroke of one's own
    const before = model.get("own") ? model.get("strokes") : [];
    put({ strokes: [...before, [last]], own: true, ...(before.length ? {} : { label: -1 }) }, false);
  });
  board.addEventListener("pointermove", (event) => {
    if (last === null || !event.isPrimary) return;
    const more = [];
    // a frame may hold several places of a fast pen
    const all = event.getCoalescedEvents?.() ?? [];
    for (const next of (all.length ? all : [event]).map(point)) {
      if (Math.hypot(next[0] - last[0], next[1] - last[1]) < 0.008) continue;
      more.push(next);
      last = next;
    }
    if (!more.length) return;
    const strokes = model.get("strokes");
    put({ strokes: [...strokes.slice(0, -1), [...strokes[strokes.length - 1], ...more]] }, false);
  });
  board.addEventListener("lostpointercapture", () => {
    if (last === null) return;
    last = null;
    model.save_changes();
  });
  pen.range.addEventListener("input", () => put({ width: Number(pen.range.value) }, false));
  pen.range.addEventListener("change", () => model.save_changes());
  undo.addEventListener("click", () => put({ strokes: model.get("strokes").slice(0, -1), own: true }));
  clear.addEventListener("click", () => put({ strokes: [], label: -1, own: true }));
  example.addEventListener("click", () => {
    shown = (shown + 1) % data.examples.length;
    put({ strokes: data.examples[shown], label: -1, own: false });
  });
  reset.addEventListener("click", () => {
    shown = data.first;
    put({ strokes: data.examples[shown], width: data.width, label: -1, own: false });
  });
  for (const name of ["strokes", "width", "label"]) model.on(`change:${name}`, soon);
  update();
  return () => {
    for (const name of ["strokes", "width", "label"]) model.off(`change:${name}`, soon);
  };
}
export default { render };
