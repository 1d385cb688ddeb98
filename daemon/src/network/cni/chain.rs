// SPDX-License-Identifier: Apache-2.0

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    AddResult, CniError, Command, NetworkConf, PluginConf, Verb,
    error::AnswerProblem,
    plugin::{Call, find},
    runtime_config::for_plugin,
};

/// Calls the plugins of a network.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Directories of plugins, in the order they are searched.
    pub directories: Vec<PathBuf>,
    /// How long one chain may take.
    pub deadline: Duration,
}

/// One pod's connection to a network.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// `CNI_CONTAINERID`.
    pub id: &'a str,
    /// `CNI_NETNS`; `None` when the namespace is gone.
    pub netns: Option<&'a Path>,
    /// `CNI_IFNAME`.
    pub interface: &'a str,
    /// `CNI_ARGS`.
    pub args: &'a str,
    /// Capabilities on offer.
    pub offered: &'a Map<String, Value>,
    /// File that carries the input of the plugins. While a plugin lives, it holds the file's
    /// open description, and with it the lock that the caller took on it.
    pub carrier: &'a File,
}

/// A connection that lives, as told to GC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidAttachment {
    /// `CNI_CONTAINERID`.
    pub id: String,
    /// `CNI_IFNAME`.
    pub interface: String,
}

/// Everything that failed while a network was torn down. The other plugins were called.
#[derive(Debug, thiserror::Error)]
#[error("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct TeardownError {
    /// One for each plugin that failed.
    pub errors: Vec<CniError>,
}

/// One chain under way.
struct Chain<'a> {
    caller: &'a Caller,
    conf: &'a NetworkConf,
    command: Command,
    until: Instant,
}

impl Caller {
    fn chain<'a>(&'a self, conf: &'a NetworkConf, command: Command) -> Chain<'a> {
        Chain { caller: self, conf, command, until: Instant::now() + self.deadline }
    }

    /// The first plugin of the network that is in none of the directories.
    ///
    /// # Errors
    /// [`CniError::Missing`].
    pub fn find_all(&self, conf: &NetworkConf) -> Result<(), CniError> {
        match conf.plugins.iter().find(|p| find(&p.program, &self.directories).is_none()) {
            None => Ok(()),
            Some(plugin) => Err(CniError::Missing {
                plugin: plugin.program.clone(),
                searched: self.directories.clone(),
            }),
        }
    }

    /// Connects: each plugin gets the result of the one before.
    ///
    /// # Errors
    /// The first plugin's that fails. The caller must [`del`](Self::del) then.
    pub async fn add(
        &self,
        conf: &NetworkConf,
        target: &Target<'_>,
    ) -> Result<AddResult, CniError> {
        let chain = self.chain(conf, Command::Add);
        let mut result: Option<AddResult> = None;
        for plugin in &conf.plugins {
            let before = result.as_ref().map(|r| &r.json);
            let answer = chain.call(plugin, target, before).await?;
            let json = answer.unwrap_or(Value::Null);
            let output = json.to_string().chars().take(256).collect();
            result = Some(AddResult::new(json).map_err(|problem| CniError::Answer {
                plugin: plugin.program.clone(),
                command: Command::Add,
                problem: AnswerProblem::Result(problem).into(),
                output,
                stderr: String::new(),
            })?);
        }
        // Reading a configuration makes sure that there is a plugin.
        Ok(result.unwrap_or(AddResult { json: json!({}) }))
    }

    /// Asks whether a connection is still as ADD left it. Success where the network's version has
    /// no CHECK or the administrator turned it off.
    ///
    /// # Errors
    /// The first plugin's that fails.
    pub async fn check(
        &self,
        conf: &NetworkConf,
        target: &Target<'_>,
        added: &AddResult,
    ) -> Result<(), CniError> {
        if !conf.version.has_check() || conf.check == Verb::Disabled {
            return Ok(());
        }
        let chain = self.chain(conf, Command::Check);
        for plugin in &conf.plugins {
            chain.call(plugin, target, Some(&added.json)).await?;
        }
        Ok(())
    }

    /// Disconnects: the plugins in reverse order, each of them even if others fail.
    ///
    /// # Errors
    /// All that failed.
    pub async fn del(
        &self,
        conf: &NetworkConf,
        target: &Target<'_>,
        added: Option<&AddResult>,
    ) -> Result<(), TeardownError> {
        let chain = self.chain(conf, Command::Del);
        let added = added.filter(|_| conf.version.has_check()).map(|r| &r.json);
        let mut errors = Vec::new();
        for plugin in conf.plugins.iter().rev() {
            if let Err(error) = chain.call(plugin, target, added).await {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(TeardownError { errors }) }
    }

    /// Asks whether the network could connect pods. Success where the version has no STATUS.
    ///
    /// # Errors
    /// The first plugin's that is not able to.
    pub async fn status(&self, conf: &NetworkConf) -> Result<(), CniError> {
        if !conf.version.has_status_and_gc() {
            return Ok(());
        }
        let chain = self.chain(conf, Command::Status);
        for plugin in &conf.plugins {
            chain.call_without_target(plugin, plugin_input(conf, plugin, None, None)).await?;
        }
        Ok(())
    }

    /// Lets the plugins drop what belongs to none of `valid`. Nothing where the version has no GC
    /// or the administrator turned it off.
    ///
    /// # Errors
    /// All that failed.
    pub async fn gc(
        &self,
        conf: &NetworkConf,
        valid: &[ValidAttachment],
    ) -> Result<(), TeardownError> {
        if !conf.version.has_status_and_gc() || conf.gc == Verb::Disabled {
            return Ok(());
        }
        let valid: Vec<Value> = valid
            .iter()
            .map(|one| json!({"containerID": one.id, "ifname": one.interface}))
            .collect();
        let chain = self.chain(conf, Command::Gc);
        let mut errors = Vec::new();
        for plugin in &conf.plugins {
            let mut input = plugin_input(conf, plugin, None, None);
            // The second name stood in an early text of 1.1, and plugins read either.
            input.insert("cni.dev/valid-attachments".into(), valid.clone().into());
            input.insert("cni.dev/attachments".into(), valid.clone().into());
            if let Err(error) = chain.call_without_target(plugin, input).await {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(TeardownError { errors }) }
    }

    /// Asks each plugin which versions it speaks; answers with the first that does not speak the
    /// network's, and those that it does speak.
    ///
    /// # Errors
    /// The first plugin's that fails.
    pub async fn unspoken(
        &self,
        conf: &NetworkConf,
    ) -> Result<Option<(String, Vec<String>)>, CniError> {
        let chain = self.chain(conf, Command::Version);
        for plugin in &conf.plugins {
            let mut input = Map::new();
            input.insert("cniVersion".into(), conf.version.as_str().into());
            let answer = chain.call_without_target(plugin, input).await?.unwrap_or_default();
            let spoken: Vec<String> = answer
                .get("supportedVersions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|version| version.as_str().map(ToOwned::to_owned))
                .collect();
            if !spoken.iter().any(|version| version == conf.version.as_str()) {
                return Ok(Some((plugin.program.clone(), spoken)));
            }
        }
        Ok(None)
    }
}

impl Chain<'_> {
    async fn call(
        &self,
        plugin: &PluginConf,
        target: &Target<'_>,
        before: Option<&Value>,
    ) -> Result<Option<Value>, CniError> {
        let input = plugin_input(self.conf, plugin, Some(target.offered), before);
        let netns = target.netns.map(|path| path.as_os_str().to_owned()).unwrap_or_default();
        let environment = vec![
            ("CNI_CONTAINERID", target.id.into()),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", target.interface.into()),
            ("CNI_ARGS", target.args.into()),
        ];
        let carrier = target.carrier.try_clone();
        self.run(plugin, input, environment, carrier).await
    }

    async fn call_without_target(
        &self,
        plugin: &PluginConf,
        input: Map<String, Value>,
    ) -> Result<Option<Value>, CniError> {
        let carrier = rustix::fs::memfd_create("cni", rustix::fs::MemfdFlags::CLOEXEC);
        self.run(plugin, input, Vec::new(), carrier.map(File::from).map_err(Into::into)).await
    }

    async fn run(
        &self,
        plugin: &PluginConf,
        input: Map<String, Value>,
        mut environment: Vec<(&'static str, OsString)>,
        carrier: io::Result<File>,
    ) -> Result<Option<Value>, CniError> {
        let spawn = |source| CniError::Spawn {
            plugin: plugin.program.clone(),
            command: self.command,
            path: plugin.program.clone().into(),
            source,
        };
        let input = carrier.and_then(|file| rewrite(file, &input)).map_err(spawn)?;
        let path = std::env::join_paths(&self.caller.directories)
            .map_err(|bad| spawn(io::Error::other(bad)))?;
        environment.push(("CNI_PATH", path));
        let call = Call {
            plugin: &plugin.program,
            directories: &self.caller.directories,
            command: self.command,
            environment,
            input,
            deadline: self.until,
            patience: self.caller.deadline,
        };
        call.run().await
    }
}

fn rewrite(mut file: File, input: &Map<String, Value>) -> io::Result<File> {
    let text = serde_json::to_vec(input)?;
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(&text)?;
    file.rewind()?;
    Ok(file)
}

/// What a plugin reads: its own configuration with the network's name and version, what it asked
/// for by capability, and the result of ADD so far.
fn plugin_input(
    conf: &NetworkConf,
    plugin: &PluginConf,
    offered: Option<&Map<String, Value>>,
    before: Option<&Value>,
) -> Map<String, Value> {
    let mut input = plugin.json.clone();
    for key in ["capabilities", "cniVersions", "plugins", "prevResult"] {
        input.remove(key);
    }
    input.insert("cniVersion".into(), conf.version.as_str().into());
    input.insert("name".into(), conf.name.as_str().into());
    if let Some(offered) = offered {
        let config = for_plugin(plugin, offered);
        if !config.is_empty() {
            input.insert("runtimeConfig".into(), config.into());
        }
    }
    if let Some(before) = before {
        input.insert("prevResult".into(), before.clone());
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_reads_its_own_part_of_the_list() {
        let conf = NetworkConf::from_json(json!({
            "cniVersion": "1.0.0", "name": "pods", "plugins": [{
                "type": "x", "vendor": true, "capabilities": {"dns": true, "bandwidth": true},
            }],
        }))
        .unwrap();
        let mut offered = Map::new();
        offered.insert("dns".into(), json!({"servers": ["10.0.0.10"]}));
        offered.insert("portMappings".into(), json!([]));
        let before = json!({"ips": []});
        let input = plugin_input(&conf, &conf.plugins[0], Some(&offered), Some(&before));
        let expected = json!({
            "cniVersion": "1.0.0", "name": "pods", "type": "x", "vendor": true,
            "runtimeConfig": {"dns": {"servers": ["10.0.0.10"]}}, "prevResult": {"ips": []},
        });
        assert_eq!(Value::Object(input), expected);
    }
}
