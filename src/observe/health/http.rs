//! `GET path` passes by its status. The body is not read, a redirect not followed.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::health::HttpCheck;
use crate::outside::{Error, Net, Result};

pub(crate) fn probe(
    net: &dyn Net,
    check: &HttpCheck,
    to: SocketAddr,
    timeout: Duration,
) -> Result<()> {
    let status = net.get_status(to, check, timeout)?;
    if check.expects(status) {
        return Ok(());
    }
    let path = &check.path;
    let expected = check.expected();
    Err(Error::new(format!("GET http://{to}{path} answered {status}; {expected} is healthy")))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use crate::model::endpoint::Endpoint;
    use crate::model::health::{HealthCheck, HealthKind, HttpCheck};
    use crate::observe::health::probe;
    use crate::outside::{Net, Result};

    struct Answers(u16);

    impl Net for Answers {
        fn get_status(&self, to: SocketAddr, check: &HttpCheck, _: Duration) -> Result<u16> {
            assert_eq!((to.to_string().as_str(), check.path.as_str()), ("10.0.0.2:81", "/up"));
            Ok(self.0)
        }
        fn connect(&self, _: SocketAddr, _: Duration) -> Result<()> {
            unreachable!("a request is made")
        }
        fn get(&self, _: &Endpoint, _: u64, _: Duration) -> Result<(u16, Vec<u8>)> {
            unreachable!("a probe reads no body")
        }
    }

    #[test]
    fn a_status_passes_when_it_is_in_one_of_the_ranges() {
        let http = |expect: &[(u16, u16)]| {
            let path = "/up".to_owned();
            let headers = Vec::new();
            let expect = expect.to_vec();
            let kind = HealthKind::Http(HttpCheck { path, headers, expect, tls: None });
            HealthCheck { kind, port: Some(81), ..HealthCheck::default() }
        };
        let address = "10.0.0.2:80".parse().unwrap();
        let two = [(200, 299), (401, 401)];
        for (expect, status, passes) in [
            (&[HttpCheck::EXPECT][..], 199, false),
            (&[HttpCheck::EXPECT], 200, true),
            (&[HttpCheck::EXPECT], 302, true),
            (&[HttpCheck::EXPECT], 399, true),
            (&[HttpCheck::EXPECT], 400, false),
            (&two, 299, true),
            (&two, 300, false),
            (&two, 401, true),
            (&two, 402, false),
        ] {
            let asked = probe(&Answers(status), &http(expect), address);
            assert_eq!(asked.is_ok(), passes, "{status}");
        }
        let told = probe(&Answers(503), &http(&two), address).unwrap_err().to_string();
        assert_eq!(told, "GET http://10.0.0.2:81/up answered 503; 200-299,401 is healthy");
    }
}
