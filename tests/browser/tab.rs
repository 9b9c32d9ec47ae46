//! One tab with cookies and storage of its own, and what a user does in it. It fails at its end if
//! the page broke its policy or a script failed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::daemon::reached;

pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Before any script of the page.
const WATCH: &str = "window.faults = [];
    addEventListener('securitypolicyviolation', (e) =>
        faults.push('policy: ' + e.violatedDirective + ' ' + e.blockedURI));
    addEventListener('error', (e) => faults.push('script: ' + e.message));
    addEventListener('unhandledrejection', (e) => faults.push('promise: ' + e.reason));";

pub(crate) struct Tab {
    chromium: Arc<Chromium>,
    context: String,
    session: String,
}

#[derive(Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
}

pub(crate) const DESK: Screen = Screen { width: 1280, height: 900, dark: false };
pub(crate) const PHONE: Screen = Screen { width: 390, height: 844, dark: false };

impl Screen {
    pub(crate) fn dark(self) -> Screen {
        Screen { dark: true, ..self }
    }
}

impl Tab {
    /// The page at `#place` of this address, when it has shown the status.
    #[track_caller]
    pub(crate) fn open(site: impl AsRef<str>, place: &str, screen: Screen) -> Tab {
        let chromium = Chromium::shared();
        let call = |method: &str, params: Value| chromium.call(None, method, &params);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let context = text(&call("Target.createBrowserContext", json!({}))["browserContextId"]);
        let made = json!({ "url": "about:blank", "browserContextId": context, "newWindow": true });
        let target = text(&call("Target.createTarget", made)["targetId"]);
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&call("Target.attachToTarget", attach)["sessionId"]);
        let tab = Tab { chromium: chromium.clone(), context, session };
        tab.call("Page.enable", json!({}));
        tab.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        tab.resize(screen);
        tab.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": WATCH }));
        tab.call("Page.navigate", json!({ "url": format!("{}/{place}", site.as_ref()) }));
        tab.wait(
            "document.querySelector('main') && document.querySelector('main').children.length",
        );
        tab
    }

    #[track_caller]
    pub(crate) fn resize(&self, screen: Screen) {
        let size = json!({
            "width": screen.width, "height": screen.height, "deviceScaleFactor": 1,
            "mobile": false,
        });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let value = if screen.dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    #[track_caller]
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.chromium.call(Some(&self.session), method, &params)
    }

    /// The value of an expression, or of its promise.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let params = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let said = self.call("Runtime.evaluate", params);
        assert!(said.get("exceptionDetails").is_none(), "{expression}: {said}");
        said["result"]["value"].clone()
    }

    #[track_caller]
    pub(crate) fn wait(&self, condition: &str) {
        let expression = format!("Boolean({condition})");
        let is_so = reached(SOON, || self.eval(&expression) == true);
        assert!(is_so, "never: {condition}\n{}", self.text("body"));
    }

    /// Asks the daemon and shows what it said, as the page itself does every two seconds.
    #[track_caller]
    pub(crate) fn refresh(&self) {
        self.eval("refresh()");
    }

    /// What a user reads of the first element of a selector.
    #[track_caller]
    pub(crate) fn text(&self, selector: &str) -> String {
        let one = format!("document.querySelector({})", json!(selector));
        let text = self.eval(&format!("{one} ? {one}.innerText : null"));
        text.as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_owned()
    }

    #[track_caller]
    pub(crate) fn count(&self, selector: &str) -> u64 {
        let all = format!("document.querySelectorAll({}).length", json!(selector));
        self.eval(&all).as_u64().unwrap()
    }

    #[track_caller]
    pub(crate) fn shows(&self, selector: &str, words: &str) {
        let one = format!("document.querySelector({})", json!(selector));
        let has = format!("{one} && {one}.innerText.includes({})", json!(words));
        let shown = reached(SOON, || self.eval(&format!("Boolean({has})")) == true);
        assert!(shown, "no {words:?} in {selector}, which has: {}", self.text(selector));
    }

    /// The middle of an element that is on the screen, or is brought there first.
    #[track_caller]
    fn place(&self, selector: &str) -> (f64, f64) {
        let found = self.eval(&format!(
            "(() => {{ const node = document.querySelector({}); if (!node) return null;
                node.scrollIntoView({{ block: 'nearest' }});
                const box = node.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        ));
        let at = |i: usize| found[i].as_f64().unwrap_or_else(|| panic!("there is no {selector}"));
        (at(0), at(1))
    }

    #[track_caller]
    fn mouse(&self, kind: &str, (x, y): (f64, f64), count: u32) {
        let event = json!({
            "type": kind, "x": x, "y": y, "button": "left", "clickCount": count,
        });
        self.call("Input.dispatchMouseEvent", event);
    }

    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let at = self.place(selector);
        self.mouse("mousePressed", at, 1);
        self.mouse("mouseReleased", at, 1);
    }

    /// Both at the place of the first, whatever is there by then.
    #[track_caller]
    pub(crate) fn double_click(&self, selector: &str) {
        let at = self.place(selector);
        for count in 1..=2 {
            self.mouse("mousePressed", at, count);
            self.mouse("mouseReleased", at, count);
        }
    }

    /// The second half of a double click, after the page has done all that the first one asked for.
    #[track_caller]
    pub(crate) fn second_click(&self, selector: &str) {
        let at = self.place(selector);
        self.mouse("mousePressed", at, 2);
        self.mouse("mouseReleased", at, 2);
    }

    #[track_caller]
    pub(crate) fn point(&self, selector: &str) {
        let at = self.place(selector);
        self.call(
            "Input.dispatchMouseEvent",
            json!({ "type": "mouseMoved", "x": at.0, "y": at.1 }),
        );
    }

    #[track_caller]
    pub(crate) fn write(&self, selector: &str, text: &str) {
        self.click(selector);
        self.eval(&format!("document.querySelector({}).select()", json!(selector)));
        self.call("Input.insertText", json!({ "text": text }));
    }

    #[track_caller]
    pub(crate) fn key(&self, name: &str) {
        let text = match name {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let code = if name == "Enter" { 13 } else { 0 };
        let press = json!({
            "type": "keyDown", "key": name, "text": text, "windowsVirtualKeyCode": code,
        });
        self.call("Input.dispatchKeyEvent", press);
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": name }));
    }

    /// As NAME.png in the folder that `PLIMSOLL_PICTURES` names, if it does.
    #[track_caller]
    pub(crate) fn keep_picture(&self, name: &str) {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let picture = shot["data"].as_str().unwrap();
        assert!(10_000 < picture.len(), "{name} is empty");
        let Some(folder) = env::var_os("PLIMSOLL_PICTURES") else { return };
        let base64 = Path::new(&folder).join(name).with_extension("base64");
        fs::write(&base64, picture).unwrap();
        let decoded = Command::new("base64").arg("-d").arg(&base64).output().unwrap();
        fs::write(base64.with_extension("png"), decoded.stdout).unwrap();
        fs::remove_file(base64).unwrap();
    }

    /// The token gives the right to change; the page shows its buttons then.
    #[track_caller]
    pub(crate) fn with_token(self) -> Tab {
        self.write("input[name=token]", "secret");
        self.wait("document.querySelector('[data-order]')");
        self
    }

    #[track_caller]
    pub(crate) fn fits(&self) {
        let wide = self.eval("document.documentElement.scrollWidth - innerWidth");
        assert!(wide.as_i64().unwrap() <= 0, "it scrolls sideways by {wide} px");
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let gone = json!({ "browserContextId": self.context });
        if std::thread::panicking() {
            drop(self.chromium.try_call(None, "Target.disposeBrowserContext", &gone));
            return;
        }
        let faults = self.eval("window.faults");
        self.chromium.call(None, "Target.disposeBrowserContext", &gone);
        assert_eq!(faults, json!([]), "the page did what it must not");
    }
}
