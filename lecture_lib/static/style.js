// What the style pad and the drawing board share: ten digits in one style, and how they are measured.

// As lecture_lib/measures.py: degrees from the upright, positive to the right at the top.
export function slant(image, size) {
  let total = 0, right = 0, down = 0;
  for (let i = 0; i < image.length; i++) {
    total += image[i];
    right += image[i] * (i % size);
    down += image[i] * Math.floor(i / size);
  }
  right /= total;
  down /= total;
  let across = 0, along = 0;
  for (let i = 0; i < image.length; i++) {
    const y = Math.floor(i / size) - down;
    across += image[i] * y * ((i % size) - right);
    along += image[i] * y * y;
  }
  return (Math.atan(-across / along) * 180) / Math.PI;
}

export const ink = (image) => image.reduce((sum, value) => sum + value, 0) / image.length;

export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Ten canvases with their numbers; write(z) writes all ten in a style and returns them.
function tenDigits(parent, net, size) {
  const grid = make("div", parent, "", { className: "style-ten" });
  const cells = Array.from({ length: net.classes }, (_, digit) => {
    const box = make("figure", grid);
    const canvas = make("canvas", box, "", { width: size, height: size });
    canvas.setAttribute("role", "img");
    return { canvas, box, caption: make("figcaption", box, String(digit)) };
  });
  const write = (z) =>
    cells.map(({ canvas }, digit) => {
      const image = run(net, z, digit).map((v) => Math.min(1, Math.max(0, v)));
      paint(canvas, image, size);
      canvas.setAttribute("aria-label", `Digit ${digit} in this style`);
      return image;
    });
  const blank = () =>
    cells.forEach(({ canvas }, digit) => {
      paint(canvas, new Float64Array(size * size), size);
      canvas.setAttribute("aria-label", `No ${digit} yet`);
    });
  return { cells, write, blank };
}

const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

function slider(parent, text, set) {
  const label = make("label", parent);
  const name = make("span", label, text);
  const range = make("input", label, "", { type: "range", ...set });
  range.setAttribute("aria-label", text); // else its name would have the readout in it
  const readout = make("output", label);
  const show = (value, said) => {
    range.value = value;
    readout.textContent = said;
    range.setAttribute("aria-valuetext", said);
  };
  return { label, name, range, readout, show };
}

// Do it before the next frame is shown: once, however often it is asked for until then.
function beforeFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}
