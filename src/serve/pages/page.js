(function () {
  'use strict';
  var every = Number(document.body.dataset.every) * 1000, light = document.getElementById('light'), paused = false;
  var seen = Date.now(), busy = false, button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Pause';
  button.addEventListener('click', function () {
    paused = !paused;
    button.textContent = paused ? 'Go on' : 'Pause';
    say();
    look();
  });
  light.after(button);
  function say() {
    var age = Math.round((Date.now() - seen) / 1000), lost = age * 1000 > 3 * every + 2000;
    var text = paused ? 'paused' : lost ? 'no answer for ' + age + ' s' : '';
    if (light.textContent !== text) { light.textContent = text; }
    document.querySelector('main').classList.toggle('old', lost && !paused);
  }
  function put(next) {
    ['asof', 'main'].forEach(function (id) {
      var old = document.getElementById(id), fresh = next.getElementById(id);
      if (!old || !fresh) { return; }
      var parts = old.querySelectorAll(':scope > section[id]'), same = parts.length > 0 &&
        parts.length === fresh.querySelectorAll(':scope > section[id]').length &&
        Array.prototype.every.call(parts, function (part) { return fresh.querySelector('#' + part.id); });
      if (!same) { if (!old.contains(document.activeElement)) { old.innerHTML = fresh.innerHTML; } return; }
      parts.forEach(function (part) {
        var other = fresh.querySelector('#' + part.id), at = document.activeElement;
        if (part.contains(at) && /^(INPUT|SELECT)$/.test(at.tagName)) { return; }
        part.querySelectorAll('details[open][id]').forEach(function (one) {
          var twin = other.querySelector('#' + one.id);
          if (twin) { twin.open = true; }
        });
        if (part.innerHTML === other.innerHTML) { return; }
        var where = part.contains(at) && at.getAttribute('href');
        part.innerHTML = other.innerHTML;
        if (where) {
          var links = Array.prototype.filter.call(part.querySelectorAll('a'), function (a) {
            return a.getAttribute('href') === where;
          });
          if (links[0]) { links[0].focus({ preventScroll: true }); }
        }
      });
    });
    document.title = next.title;
  }
  function look() {
    if (paused || document.hidden || busy) { return; }
    busy = true;
    fetch(location.href, { cache: 'no-store', credentials: 'same-origin', signal: AbortSignal.timeout(10000) })
      .then(function (answer) { return answer.text(); })
      .then(function (text) {
        put(new DOMParser().parseFromString(text, 'text/html'));
        seen = Date.now();
      })
      .catch(function () {})
      .then(function () { busy = false; say(); });
  }
  setInterval(look, every);
  setInterval(say, 1000);
  document.addEventListener('visibilitychange', look);
})();
