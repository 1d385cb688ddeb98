// SPDX-License-Identifier: Apache-2.0
//! Log lines on standard error: words or JSON. Under systemd, words carry the priority that the
//! journal reads and leave the time to it.

use std::{fmt, fs, io::IsTerminal, os::unix::fs::MetadataExt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
        time::FormatTime,
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{LogFormat, Runtime};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log_filter` cannot be understood.
    #[error("[runtime] log_filter = {text:?}")]
    Filter {
        /// The filter.
        text: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// A log was started already.
    #[error("cannot start the log")]
    Twice(#[from] TryInitError),
    /// The filter cannot be replaced.
    #[error("cannot change what is logged")]
    Reload(#[from] reload::Error),
}

/// The running log, whose filter may be changed.
#[derive(Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Starts logging as `settings` say.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn start(settings: &Runtime) -> Result<Self, LogError> {
        let (filter, handle) = reload::Layer::new(filter(settings)?);
        let registry = tracing_subscriber::registry().with(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        match (settings.log_format, is_journal()) {
            (LogFormat::Json, _) => registry.with(lines.json().flatten_event(true)).try_init()?,
            (LogFormat::Text, true) => {
                let format = Prioritised(Format::default().with_level(false).without_time());
                registry.with(lines.with_ansi(false).event_format(format)).try_init()?;
            }
            (LogFormat::Text, false) => {
                registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?;
            }
        }
        Ok(Self { filter: handle })
    }

    /// Logs what `settings` say from now on. The format stays.
    ///
    /// # Errors
    /// [`LogError::Filter`]; the old filter stays.
    pub fn change(&self, settings: &Runtime) -> Result<(), LogError> {
        Ok(self.filter.reload(filter(settings)?)?)
    }
}

fn filter(settings: &Runtime) -> Result<EnvFilter, LogError> {
    let text = match settings.log_filter.as_str() {
        // Libraries are of interest when they complain.
        "" => format!("warn,crisp={}", settings.log_level.word()),
        text => text.to_owned(),
    };
    EnvFilter::try_new(&text).map_err(|source| LogError::Filter { text, source })
}

/// Whether standard error goes to the journal: `JOURNAL_STREAM` is its device and inode.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    fs::metadata("/proc/self/fd/2").is_ok_and(|m| stream == format!("{}:{}", m.dev(), m.ino()))
}

/// Puts the journal's priority before each line (sd-daemon(3)).
struct Prioritised<T>(Format<Full, T>);

impl<S, N, T> FormatEvent<S, N> for Prioritised<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// syslog's number for a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let settings = Runtime { log_filter: "crisp=loud".into(), ..Default::default() };
        assert!(filter(&settings).unwrap_err().to_string().contains("crisp=loud"));
        assert!(filter(&Runtime::default()).is_ok());
    }
}
