//! A real browser: headless Chromium, driven through chromedriver by the WebDriver protocol.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::request;
use crate::PATIENCE;
use crate::toolchain::{Missing, tool};

/// chromedriver, on a free port.
pub struct Driver {
    process: Child,
    address: std::net::SocketAddr,
}

/// One window with cookies of its own.
pub struct Browser<'a> {
    driver: &'a Driver,
    session: String,
}

/// How the window is.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Driver {
    pub async fn start() -> Result<Driver, Missing> {
        let chromium = tool("chromium", "Debian: chromium")?;
        let program = tool("chromedriver", "Debian: chromium-driver")?;
        let free =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let process = Command::new(program)
            .arg(format!("--port={}", address.port()))
            .env("CHROME_BIN", chromium)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let driver = Driver {
            process: process.expect("chromedriver starts"),
            address,
        };
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(Instant::now() < deadline, "chromedriver does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(driver)
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        let answer = request(self.address, method, path, &[], body.as_ref()).await;
        let value = answer.json()["value"].clone();
        if answer.status == 200 {
            Ok(value)
        } else {
            Err(value["message"].to_string())
        }
    }

    pub async fn open(&self, look: Look) -> Browser<'_> {
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
        ];
        let mut options = json!({ "args": arguments });
        if look.width < 500 {
            let metrics = json!({ "width": look.width, "height": look.height, "pixelRatio": 1.0, "touch": false });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let wish = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let made = self
            .ask("POST", "/session", Some(wish))
            .await
            .expect("a browser");
        let session = format!(
            "/session/{}",
            made["sessionId"].as_str().expect("a session")
        );
        let browser = Browser {
            driver: self,
            session,
        };
        browser
            .ask(
                "POST",
                "/window/rect",
                json!({ "width": look.width, "height": look.height }),
            )
            .await;
        if look.dark {
            let feature = json!({ "name": "prefers-color-scheme", "value": "dark" });
            let wish =
                json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": [feature] } });
            browser.ask("POST", "/goog/cdp/execute", wish).await;
        }
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its browsers end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser<'_> {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("{}{path}", self.session);
        let answer = self.driver.ask(method, &path, Some(body)).await;
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub async fn go(&self, url: &str) {
        self.ask("POST", "/url", json!({ "url": url })).await;
    }

    /// What a function's body returns.
    pub async fn run(&self, script: &str) -> Value {
        self.ask(
            "POST",
            "/execute/sync",
            json!({ "script": script, "args": [] }),
        )
        .await
    }

    /// Waits for an element.
    async fn element(&self, selector: &str) -> String {
        let path = format!("{}/element", self.session);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let wish = json!({ "using": "css selector", "value": selector });
            if let Ok(found) = self.driver.ask("POST", &path, Some(wish)).await {
                return found[ELEMENT].as_str().expect("an element").to_owned();
            }
            assert!(
                Instant::now() < deadline,
                "no {selector} on {}",
                self.text().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn click(&self, selector: &str) {
        self.act(selector, "click", json!({})).await;
    }

    pub async fn write(&self, selector: &str, text: &str) {
        self.act(selector, "value", json!({ "text": text })).await;
    }

    /// Done to an element, which the page may be replacing just now, or still covering.
    async fn act(&self, selector: &str, what: &str, with: Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.element(selector).await;
            let path = format!("{}/element/{element}/{what}", self.session);
            match self.driver.ask("POST", &path, Some(with.clone())).await {
                Ok(_) => return,
                Err(error) => assert!(Instant::now() < deadline, "{what} {selector}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All that can be read on the page.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says so.
    pub async fn says(&self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.text().await.contains(wanted) {
            assert!(
                Instant::now() < deadline,
                "no {wanted:?} in {}",
                self.text().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the script returns true.
    pub async fn holds(&self, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(script).await != Value::Bool(true) {
            assert!(
                Instant::now() < deadline,
                "{script} is not true on {}",
                self.text().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A picture of the window, as PNG.
    pub async fn picture(&self, file: &Path) {
        let path = format!("{}/screenshot", self.session);
        let taken = self
            .driver
            .ask("GET", &path, None)
            .await
            .expect("a picture");
        let bytes = decoded(taken.as_str().expect("base64"));
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

fn decoded(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64")
}
