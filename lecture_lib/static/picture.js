// A picture with alternative text that can be grabbed: PNG bytes in, pointer position out.
function render({ model, el }) {
  const img = document.createElement("img");
  img.style.cssText = "max-width: 100%; border-radius: 6px; display: block;";
  img.draggable = false;
  el.append(img);
  let shown = null;
  const draw = () => {
    const url = URL.createObjectURL(new Blob([model.get("png")], { type: "image/png" }));
    const old = shown;
    img.onload = () => old && URL.revokeObjectURL(old);
    shown = url;
    img.width = model.get("width");
    img.src = url;
  };
  const describe = () => (img.alt = model.get("alt"));
  model.on("change:png", draw);
  model.on("change:alt", describe);
  draw();
  describe();

  if (model.get("grabbable")) {
    img.style.cursor = "ew-resize";
    img.style.touchAction = "none";
    const tell = (event) => {
      const box = img.getBoundingClientRect();
      model.set("pointer", [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]);
      model.save_changes();
    };
    img.addEventListener("pointerdown", (event) => {
      img.setPointerCapture(event.pointerId);
      tell(event);
    });
    img.addEventListener("pointermove", (event) => event.buttons && tell(event));
  }
  return () => URL.revokeObjectURL(shown);
}
export default { render };
