//! Pictures for the eye; `light` and `service` are those of README.md.
//! They are taken also where none keeps them, which shows that each page is drawn.

use serde_json::json;

use crate::made_up;
use crate::tab::{DESK, PHONE, Screen, Tab};

fn take(tab: &Tab, name: &str) {
    tab.refresh();
    tab.fits();
    tab.keep_picture(name);
}

#[test]
fn each_page_is_drawn() {
    let site = made_up::four();
    let short = "health check: HTTP 404 from http://172.18.0.6:8000/health";
    site.change("/status", |status| status["problems"][1]["message"] = json!(short));
    site.change("/services/web/stats", |web| web["replicas"][1]["error"] = json!(short));
    site.change("/events", |events| events[4]["message"] = json!(short));
    let tall = |screen: Screen, height| Screen { height, ..screen };
    take(&Tab::open(&site, "", tall(DESK, 1000)), "light");
    take(&Tab::open(&site, "", tall(DESK, 1000).dark()).with_token(), "dark");
    take(&Tab::open(&site, "", tall(PHONE, 1800)), "phone");
    let forty = made_up::forty();
    take(&Tab::open(&forty, "", tall(DESK, 2600)), "forty");
    take(&Tab::open(&site, "#web", tall(DESK, 1500)).with_token(), "service");
    take(&Tab::open(&site, "#web", tall(PHONE, 3600).dark()), "service-phone");
}
