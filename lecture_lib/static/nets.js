// Networks that run in the page, as browser.py packs them, and the small change of all widgets.
const SQRT_2_PI = Math.sqrt(2 / Math.PI);
const ACTIVATIONS = {
  linear: (x) => x,
  tanh: Math.tanh,
  relu: (x) => Math.max(0, x),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(SQRT_2_PI * (x + 0.044715 * x ** 3))),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

// Numbers from bytes: the first byte says whether they are of 2 or of 4 bytes.
export function readFloats(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const body = bytes.slice(4).buffer;
  if (bytes[0] === 4) return new Float32Array(body);
  return Float32Array.from(new Uint16Array(body), (half) => {
    const exponent = (half >> 10) & 31, fraction = half & 1023;
    const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14;
    return half >> 15 ? -size : size;
  });
}

// The layers of a network whose weights begin at floats[at].
export function readNet(spec, floats, at = 0) {
  const take = (n) => floats.subarray(at, (at += n));
  const layers = spec.layers.map(({ inputs, outputs, activation, film }) => ({
    inputs,
    outputs,
    kernel: take(inputs * outputs),
    bias: take(outputs),
    scale: film ? take(spec.classes * outputs) : null,
    shift: film ? take(spec.classes * outputs) : null,
    activation: ACTIVATIONS[activation],
  }));
  return { ...spec, layers };
}

// The output for one input; the label counts where the network has a condition.
export function run(net, input, label = 0) {
  let x = input;
  if (net.condition === "concat") {
    x = new Float64Array(input.length + net.classes);
    x.set(input);
    x[input.length + label] = 1;
  }
  for (const { inputs, outputs, kernel, bias, scale, shift, activation } of net.layers) {
    const y = Float64Array.from(bias);
    for (let i = 0; i < inputs; i++) {
      const xi = x[i];
      if (xi === 0) continue;
      for (let j = 0, k = i * outputs; j < outputs; j++, k++) y[j] += xi * kernel[k];
    }
    for (let j = 0, k = label * outputs; j < outputs; j++, k++)
      y[j] = activation(scale ? (1 + scale[k]) * y[j] + shift[k] : y[j]);
    x = y;
  }
  return x;
}

// Grey levels from 0 (black) to 1 (white) onto a canvas of `width` pixels a row.
export function paint(canvas, image, width) {
  const rgba = new Uint8ClampedArray(4 * image.length);
  for (let i = 0, k = 0; i < image.length; i++) {
    rgba[k++] = rgba[k++] = rgba[k++] = 255 * image[i];
    rgba[k++] = 255;
  }
  canvas.getContext("2d").putImageData(new ImageData(rgba, width), 0, 0);
}

export function make(tag, parent, text = "", set = {}) {
  const node = Object.assign(document.createElement(tag), set);
  node.textContent = text;
  parent.append(node);
  return node;
}

// JupyterLab would take arrow keys as its own: fold headings, move between cells.
export function keepKeys(node) {
  node.addEventListener("keydown", (event) => {
    if (/^(Arrow|Page|Home|End|Enter|Delete|Backspace| )/.test(event.key)) event.stopPropagation();
  });
}
