"""What moves on the page: the slider between two pictures, and the filter of label maps by class.

Without it the page is whole, and nothing of it comes from a run.
"""

from __future__ import annotations

SCRIPT = """
for (const slider of document.querySelectorAll(".slider input"))
  slider.addEventListener("input", () => slider.parentNode.style.setProperty("--at", slider.value + "%"));

for (const key of document.querySelectorAll(".filter button"))
  key.addEventListener("click", () => {
    const on = key.getAttribute("aria-pressed") !== "true";
    for (const other of key.parentNode.children) other.setAttribute("aria-pressed", other === key && on);
    const colour = on ? key.dataset.colour.split(" ").map(Number) : null;
    for (const image of key.closest("section").querySelectorAll("img.labels:not(.errors)")) filter(image, colour);
  });

function filter(image, colour) {
  image.dataset.whole ??= image.src;
  if (colour === null) { image.src = image.dataset.whole; return; }
  const whole = new Image();
  whole.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [whole.naturalWidth, whole.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(whole, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    for (let i = 0; i < pixels.data.length; i += 4)
      if (colour.some((value, channel) => pixels.data[i + channel] !== value)) pixels.data[i + 3] = 40;
    context.putImageData(pixels, 0, 0);
    image.src = canvas.toDataURL();
  };
  whole.src = image.dataset.whole;
}
"""
