//! Asks one replica whether it can serve.

use std::net::SocketAddr;

use crate::model::health::{HealthCheck, HealthKind};
use crate::outside::{Error, Net, Result};

/// `address` is where the replica serves; the health check may name another port of it.
pub(crate) fn probe(net: &dyn Net, check: &HealthCheck, address: SocketAddr) -> Result<()> {
    let to = SocketAddr::new(address.ip(), check.port.unwrap_or(address.port()));
    match &check.kind {
        HealthKind::Tcp | HealthKind::Docker | HealthKind::None => net.connect(to, check.timeout),
        HealthKind::Http(http) => match net.get_status(to, &http.path, check.timeout)? {
            200..=399 => Ok(()),
            status => Err(Error::new(format!(
                "GET http://{to}{path} answered {status}; 200 to 399 is healthy",
                path = http.path
            ))),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use crate::model::health::{HealthCheck, HealthKind, HttpCheck};
    use crate::observe::health::probe;
    use crate::outside::{Net, Result};

    struct Answers(u16);

    impl Net for Answers {
        fn get_status(&self, to: SocketAddr, path: &str, _: Duration) -> Result<u16> {
            assert_eq!((to.to_string().as_str(), path), ("10.0.0.2:81", "/up"));
            Ok(self.0)
        }
        fn connect(&self, to: SocketAddr, _: Duration) -> Result<()> {
            assert_eq!(to.to_string(), "10.0.0.2:80");
            Ok(())
        }
        fn get(&self, _: &str, _: u64, _: Duration) -> Result<(u16, Vec<u8>)> {
            unreachable!("a probe reads no body")
        }
    }

    #[test]
    fn statuses_from_200_to_399_pass() {
        let (path, expect) = ("/up".to_owned(), vec![HttpCheck::EXPECT]);
        let kind = HealthKind::Http(HttpCheck { path, headers: Vec::new(), expect });
        let http = HealthCheck {
            kind,
            port: Some(81),
            timeout: Duration::from_secs(1),
            ..HealthCheck::default()
        };
        let address = "10.0.0.2:80".parse().unwrap();
        for (status, passes) in
            [(199, false), (200, true), (302, true), (399, true), (400, false), (503, false)]
        {
            assert_eq!(probe(&Answers(status), &http, address).is_ok(), passes, "{status}");
        }
        let tcp = HealthCheck { kind: HealthKind::Tcp, port: None, ..http };
        probe(&Answers(0), &tcp, address).unwrap();
    }
}
