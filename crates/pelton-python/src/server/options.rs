//! The options of `pelton.server.Config`, as Rust reads them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pelton_http::proxies::{Source, Trusted};
use pelton_http::{Limits, h2, websocket};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyMapping;

/// What a server was configured to.
pub(super) struct Options {
    pub(super) limits: Arc<Limits>,
    pub(super) http2: bool,
    pub(super) http2_limits: Arc<h2::Limits>,
    pub(super) websocket: websocket::Limits,
    /// `None`: WebSocket messages are not compressed.
    pub(super) deflate: Option<websocket::DeflateOptions>,
    pub(super) root_path: String,
    pub(super) server_header: String,
    pub(super) max_connections: usize,
    pub(super) max_concurrency: Option<u64>,
    pub(super) access_log: Option<LogOptions>,
    /// Connections begin with the PROXY protocol.
    pub(super) proxy_protocol: bool,
    pub(super) trusted_proxies: Rc<Trusted>,
    /// Which headers proxies set, if any are read.
    pub(super) forwarded: Option<Source>,
    /// Whether what they say of the host counts, too.
    pub(super) forwarded_host: bool,
    pub(super) handshake_timeout: Duration,
    pub(super) max_handshakes: usize,
    pub(super) mounts: Vec<(String, Py<PyAny>)>,
}

/// How and where requests are logged.
pub(super) struct LogOptions {
    pub(super) format: String,
    pub(super) file: Option<String>,
}

impl Options {
    /// Reads a `pelton.server.Config`, which has checked the values.
    pub(super) fn from_config(config: &Bound<'_, PyAny>) -> PyResult<Self> {
        let write_timeout = seconds(config, "write_timeout")?;
        let limits = Limits {
            request_line: size(config, "max_request_line")?,
            head: size(config, "max_head")?,
            headers: size(config, "max_headers")?,
            body: config.getattr("max_body")?.extract()?,
            head_timeout: seconds(config, "head_timeout")?,
            body_timeout: seconds(config, "body_timeout")?,
            write_timeout,
            keep_alive: seconds(config, "keep_alive")?,
            requests: config.getattr("keep_alive_requests")?.extract()?,
            body_buffer: size(config, "body_buffer")?,
            drain: config.getattr("max_drain")?.extract()?,
            linger: seconds(config, "linger_timeout")?,
        };
        let ping_interval: Option<f64> = config.getattr("ws_ping_interval")?.extract()?;
        let websocket = websocket::Limits {
            message: size(config, "ws_max_message")?,
            frame: config.getattr("ws_max_frame")?.extract()?,
            queue: size(config, "ws_max_queue")?,
            write_queue: size(config, "ws_max_write_queue")?,
            ping_interval: ping_interval.map(duration).transpose()?,
            ping_timeout: seconds(config, "ws_ping_timeout")?,
            close_timeout: seconds(config, "ws_close_timeout")?,
            write_timeout,
        };
        let http2_limits = h2::Limits {
            streams: config.getattr("http2_max_streams")?.extract()?,
            stream_window: config.getattr("http2_stream_window")?.extract()?,
            connection_window: config.getattr("http2_connection_window")?.extract()?,
            continuations: config.getattr("http2_max_continuations")?.extract()?,
            resets: config.getattr("http2_max_resets")?.extract()?,
            control_frames: config.getattr("http2_max_control_frames")?.extract()?,
            ..h2::Limits::default()
        };
        let server_header: Option<String> = config.getattr("server_header")?.extract()?;
        Ok(Self {
            limits: Arc::new(limits),
            http2: config.getattr("http2")?.extract()?,
            http2_limits: Arc::new(http2_limits),
            websocket,
            deflate: deflate(config)?,
            root_path: config.getattr("root_path")?.extract()?,
            server_header: server_header.unwrap_or_default(),
            max_connections: size(config, "max_connections")?,
            max_concurrency: config.getattr("max_concurrency")?.extract()?,
            access_log: log_options(config)?,
            proxy_protocol: config.getattr("proxy_protocol")?.extract()?,
            trusted_proxies: Rc::new(trusted(&config.getattr("trusted_proxies")?)?),
            forwarded: forwarded(&config.getattr("forwarded_headers")?)?,
            forwarded_host: config.getattr("forwarded_host")?.extract()?,
            handshake_timeout: seconds(config, "handshake_timeout")?,
            max_handshakes: size(config, "max_handshakes")?,
            mounts: mounts(&config.getattr("mounts")?)?,
        })
    }

    /// How often the timeouts are looked at: four times within the shortest, once a second at
    /// least and a hundred times a second at most.
    pub(super) fn tick(&self) -> Duration {
        let mut shortest = self.limits.head_timeout;
        for timeout in [
            self.limits.body_timeout,
            self.limits.write_timeout,
            self.limits.keep_alive,
            self.limits.linger,
            self.websocket.ping_timeout,
            self.websocket.close_timeout,
            self.websocket.ping_interval.unwrap_or(Duration::MAX),
        ] {
            shortest = shortest.min(timeout);
        }
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

fn deflate(config: &Bound<'_, PyAny>) -> PyResult<Option<websocket::DeflateOptions>> {
    if !config.getattr("ws_deflate")?.is_truthy()? {
        return Ok(None);
    }
    Ok(Some(websocket::DeflateOptions {
        level: config.getattr("ws_deflate_level")?.extract()?,
        min_size: size(config, "ws_deflate_min_size")?,
        server_window_bits: config.getattr("ws_deflate_window_bits")?.extract()?,
        context_takeover: config.getattr("ws_deflate_context_takeover")?.extract()?,
        ..websocket::DeflateOptions::default()
    }))
}

fn size(config: &Bound<'_, PyAny>, name: &str) -> PyResult<usize> {
    config.getattr(name)?.extract()
}

fn seconds(config: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    duration(config.getattr(name)?.extract()?)
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{seconds} is no duration in seconds")))
}

fn log_options(config: &Bound<'_, PyAny>) -> PyResult<Option<LogOptions>> {
    if !config.getattr("access_log")?.is_truthy()? {
        return Ok(None);
    }
    Ok(Some(LogOptions {
        format: config.getattr("access_log_format")?.extract()?,
        file: config.getattr("access_log_file")?.extract()?,
    }))
}

fn trusted(entries: &Bound<'_, PyAny>) -> PyResult<Trusted> {
    let entries: Vec<String> = entries.extract()?;
    Trusted::parse(entries.iter().map(String::as_str))
        .map_err(|error| PyValueError::new_err(format!("trusted_proxies: {error}")))
}

fn forwarded(name: &Bound<'_, PyAny>) -> PyResult<Option<Source>> {
    match name.extract::<String>()?.as_str() {
        "x-forwarded" => Ok(Some(Source::XForwarded)),
        "forwarded" => Ok(Some(Source::Forwarded)),
        "off" => Ok(None),
        other => Err(PyValueError::new_err(format!("forwarded_headers is {other:?}"))),
    }
}

/// The longest prefix first, so that `/a/b` wins over `/a`.
fn mounts(mounts: &Bound<'_, PyAny>) -> PyResult<Vec<(String, Py<PyAny>)>> {
    let mut found = Vec::new();
    for item in mounts.cast::<PyMapping>()?.items()? {
        let (prefix, app): (String, Py<PyAny>) = item.extract()?;
        found.push((prefix, app));
    }
    found.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    Ok(found)
}
