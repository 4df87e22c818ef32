// What a panel's picture tells while the kernel works: a line over it, but only after 0.4 s, so that quick
// answers do not flicker. And the kernel may ask: the answer comes behind all that this page has held back.
function busySign(model, el) {
  const sign = document.createElement("div");
  sign.setAttribute("role", "status");
  sign.style.cssText = "position: absolute; right: 6px; top: 6px; pointer-events: none;";
  el.style.position = "relative";
  el.append(sign);
  let timer = 0;
  const tell = () => {
    const busy = Boolean(model.get("busy"));
    el.setAttribute("aria-busy", String(busy));
    clearTimeout(timer);
    sign.replaceChildren();
    if (busy) timer = setTimeout(() => {
      const text = document.createElement("span");
      text.textContent = "computing …";
      text.style.cssText = "background: #222; border-radius: 4px; color: #fff; font: 13px system-ui; padding: 3px 8px;";
      sign.append(text);
    }, 400);
  };
  const answer = (told) => told.ask && model.send({ answer: told.ask });
  model.on("change:busy", tell);
  model.on("msg:custom", answer);
  tell();
  return () => {
    clearTimeout(timer);
    model.off("change:busy", tell);
    model.off("msg:custom", answer);
  };
}
