// Each player finds its frames in the JSON beside it. A token is new where it differs from the frame
// before; text is only ever set as text.
for (const player of document.querySelectorAll('.player')) {
  const frames = JSON.parse(player.querySelector('script').textContent);
  const [button, slider] = [player.querySelector('button'), player.querySelector('input')];
  const [state, label] = [player.querySelector('pre'), player.querySelector('output')];
  let timer = null;
  const show = (number) => {
    state.replaceChildren(...frames[number].map((token, i) => {
      const span = document.createElement('span');
      span.textContent = token;
      if (token === '\u00b7') span.className = 'mask';
      else if (number && frames[number - 1][i] !== token) span.className = 'new';
      return span;
    }));
    slider.value = number;
    label.textContent = `${number} / ${frames.length - 1}`;
  };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = 'Play'; };
  const play = () => {
    if (+slider.value === frames.length - 1) show(0);
    button.textContent = 'Pause';
    timer = setInterval(() => {
      if (+slider.value === frames.length - 1) stop(); else show(+slider.value + 1);
    }, Math.max(40, 4000 / frames.length));
  };
  button.onclick = () => timer ? stop() : play();
  slider.oninput = () => { stop(); show(+slider.value); };
  show(0);
}
