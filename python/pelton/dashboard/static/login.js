// Says that the last try was wrong: the server redirects back with `?wrong`.
document.getElementById("wrong").hidden = !new URLSearchParams(location.search).has("wrong");
