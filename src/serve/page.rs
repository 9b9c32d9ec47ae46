//! The dashboard: one page that asks the other routes, for browsers.

use crate::serve::request::ApiRequest;
use crate::serve::response::Response;

const MARKUP: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One script in several files; each may use what is in those above.
const SCRIPT: &str = concat!(
    include_str!("page/base.js"),
    include_str!("page/words.js"),
    include_str!("page/charts.js"),
    include_str!("page/orders.js"),
    include_str!("page/overview.js"),
    include_str!("page/service.js"),
    include_str!("page/main.js"),
);

/// Nothing but this very style and script, and no address but this one. A change of either needs
/// its hash here; the test of the page says which.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; connect-src 'self'; img-src data:; \
    style-src 'sha256-6sVmgSD/RaSHjsQnS+N5DiVhnmVwwYfi8uHvmnrEZ/o='; \
    script-src 'sha256-TE6qgnnyOdHVFKwDsZ+blNEftHcQshv6Jv3/BKCcPGQ='";

/// A browser asks for HTML by name; other clients take anything.
pub(crate) fn is_wanted(asked: &ApiRequest) -> bool {
    let accept = asked.accept.as_deref().unwrap_or_default();
    accept.split(',').any(|kind| kind.split(';').next().is_some_and(|k| k.trim() == "text/html"))
}

pub(crate) fn page() -> Response {
    let text = MARKUP.replace("{style}", STYLE).replace("{script}", SCRIPT);
    Response::plain("text/html; charset=utf-8", text)
        .header("Content-Security-Policy", POLICY)
        .header("Referrer-Policy", "no-referrer")
        .header("X-Content-Type-Options", "nosniff")
}
