//! Who may change something. Over the control socket everybody whom its file mode lets in; over TCP
//! whoever shows the token.

use std::hint::black_box;

use crate::model::secret::Secret;
use crate::serve::desk::{Asked, Via};
use crate::serve::reply::Reply;

/// `control` is the path of the control socket, for those who may use that instead.
pub(crate) fn check(asked: &Asked, token: Option<&Secret>, control: &str) -> Result<(), Reply> {
    if is_cross_site(asked) {
        let what = "a page of another site may not do this";
        return Err(Reply::error(403, what).detail("the Origin is not this address"));
    }
    match asked.via {
        Via::Control => return Ok(()),
        Via::Tcp => (),
    }
    let Some(token) = token else {
        let remedy = format!("set api.token and restart the daemon, or use the socket {control}");
        return Err(
            Reply::error(403, "changes over TCP need a token, and none is set").detail(remedy)
        );
    };
    let shown = asked.authorization.as_deref().and_then(|text| {
        let (scheme, rest) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(rest.trim_start())
    });
    if shown.is_some_and(|shown| same(shown.as_bytes(), token.expose().as_bytes())) {
        return Ok(());
    }
    let what = if shown.is_some() { "that is not the token" } else { "changes need the token" };
    Err(Reply::error(401, what)
        .detail("Authorization: Bearer TOKEN, with api.token of the config")
        .header("WWW-Authenticate", "Bearer"))
}

/// A browser says where a request comes from; other clients say nothing.
fn is_cross_site(asked: &Asked) -> bool {
    let own = asked.host.as_ref().map(|host| format!("http://{host}"));
    let other_origin = match (&asked.origin, own) {
        (Some(origin), Some(own)) => !origin.eq_ignore_ascii_case(&own),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let site = asked.fetch_site.as_deref();
    other_origin || site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// Takes as long wherever the first difference is.
fn same(shown: &[u8], token: &[u8]) -> bool {
    let mut difference = shown.len() ^ token.len();
    for (i, byte) in shown.iter().enumerate() {
        let other = token.get(i).copied().unwrap_or(0);
        difference |= usize::from(black_box(byte ^ other));
    }
    black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use crate::model::secret::Secret;
    use crate::serve::desk::{Asked, Via};
    use crate::serve::guard::{check, same};

    #[test]
    fn tokens_are_the_same_or_not() {
        for (shown, is_same) in [
            ("0123456789abcdef", true),
            ("0123456789abcdeF", false),
            ("1123456789abcdef", false),
            ("0123456789abcde", false),
            ("0123456789abcdef\0", false),
            ("0123456789abcdef0", false),
            ("", false),
        ] {
            assert_eq!(same(shown.as_bytes(), b"0123456789abcdef"), is_same, "{shown:?}");
        }
    }

    #[test]
    fn a_change_needs_the_token_on_tcp_and_is_of_no_other_site() {
        let token = Secret::new("0123456789abcdef".to_owned());
        let right = Some("Bearer 0123456789abcdef");
        let (here, there) = (Some("http://h:1"), Some("http://other"));
        for (via, authorization, origin, site, want) in [
            (Via::Tcp, right, None, None, 0),
            (Via::Tcp, Some("bearer  0123456789abcdef"), None, None, 0),
            (Via::Tcp, None, None, None, 401),
            (Via::Tcp, Some("0123456789abcdef"), None, None, 401),
            (Via::Tcp, Some("Basic 0123456789abcdef"), None, None, 401),
            (Via::Tcp, Some("Bearer 0123456789abcdeg"), None, None, 401),
            (Via::Tcp, Some("Bearer "), None, None, 401),
            (Via::Tcp, right, here, Some("same-origin"), 0),
            (Via::Tcp, right, there, None, 403),
            (Via::Tcp, right, Some("null"), None, 403),
            (Via::Tcp, right, Some("https://h:1"), None, 403),
            (Via::Tcp, right, None, Some("cross-site"), 403),
            (Via::Tcp, right, None, Some("same-site"), 403),
            (Via::Tcp, right, None, Some("none"), 0),
            (Via::Control, None, None, None, 0),
            (Via::Control, None, there, None, 403),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let asked = Asked {
                via,
                method: "POST".to_owned(),
                target: "/".to_owned(),
                host: Some("h:1".to_owned()),
                accept: None,
                authorization: own(authorization),
                origin: own(origin),
                fetch_site: own(site),
                body: Vec::new(),
            };
            let got = check(&asked, Some(&token), "/s").err().map_or(0, |reply| reply.status);
            assert_eq!(got, want, "{asked:?}");
            let without = check(&asked, None, "/s").err().map_or(0, |reply| reply.status);
            let want = if via == Via::Tcp { 403 } else { want };
            assert_eq!(without, want, "without a token: {asked:?}");
        }
    }
}
