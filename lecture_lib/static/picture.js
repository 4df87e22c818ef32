// A picture with alternative text that can be grabbed: PNG bytes in, pointer position out.
function render({ model, el }) {
  const img = document.createElement("img");
  img.style.cssText = "max-width: 100%; border-radius: 6px; display: block;";
  img.draggable = false;
  const frame = document.createElement("div");
  frame.style.cssText = "position: relative; display: inline-block; max-width: 100%;";
  frame.append(img);
  el.append(frame);
  const awake = busySign(model, frame);
  let shown = null, old = [];
  // a picture that is replaced before it was loaded never is: it is given back with the next that is
  img.onload = () => old.splice(0).forEach((url) => URL.revokeObjectURL(url));
  const draw = () => {
    if (shown) old.push(shown);
    shown = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
    img.width = model.get("width");
    img.src = shown;
  };
  const describe = () => (img.alt = model.get("alt"));
  model.on("change:png", draw);
  model.on("change:alt", describe);
  draw();
  describe();

  const region = model.get("region").map((share) => `${100 * share}%`);
  if (region.length) {
    const [left, top, width, height] = region;
    const handle = document.createElement("div");
    Object.assign(handle.style, { position: "absolute", left, top, width, height });
    const cursor = model.get("brush") ? "crosshair" : model.get("both") ? "move" : "ew-resize";
    Object.assign(handle.style, { cursor, touchAction: "none" });
    frame.append(handle);
    const tell = (event, stroke) => {
      const box = img.getBoundingClientRect();
      const place = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      model.set("pointer", place);
      model.set("press", [...place, stroke]);
      model.save_changes();
    };
    const strokes = () => model.get("press")[2] ?? 0;
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      tell(event, strokes() + 1);
    });
    handle.addEventListener("pointermove", (event) => event.buttons && tell(event, strokes()));
  }
  return () => {
    model.off("change:png", draw);
    model.off("change:alt", describe);
    awake();
    [...old, shown].forEach((url) => URL.revokeObjectURL(url));
  };
}
export default { render };
