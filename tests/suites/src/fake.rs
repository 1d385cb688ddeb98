// SPDX-License-Identifier: Apache-2.0
//! Programs that pods depend on, which fail, hang or lie when told to. Each is a script before
//! the real one.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use crisp_script::program;

use crate::node::Node;

/// How long each step may take on a node with fakes, seconds.
pub const DEADLINE: u64 = 4;

/// What the CNI plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugin {
    /// What it should.
    Works,
    /// Never answers an ADD.
    HangsInAdd,
    /// Never answers a DEL.
    HangsInDel,
    /// Refuses an ADD, in CNI's words.
    RefusesAdd,
    /// Refuses a DEL.
    RefusesDel,
    /// Is killed in ADD.
    DiesInAdd,
    /// Joins the pod and answers what is no JSON.
    Babbles,
    /// Joins the pod and answers nothing.
    IsSilent,
    /// Joins the pod and tells an address that is none.
    LiesAboutAddress,
    /// Claims success without an address.
    GivesNoAddress,
}

/// What the OCI runtime of a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Never ends making a container.
    HangsInCreate,
    /// Never ends starting it.
    HangsInStart,
    /// Takes its time to start it.
    SlowInStart,
    /// Never ends deleting it.
    HangsInDelete,
    /// Refuses to make a container.
    FailsInCreate,
    /// Refuses to start it.
    FailsInStart,
    /// Refuses to delete it.
    FailsInDelete,
    /// Says that it made a container, and made none.
    LiesInCreate,
}

impl Runtime {
    /// All but the one that is merely slow.
    pub const ALL: [Self; 7] = [
        Self::HangsInCreate,
        Self::HangsInStart,
        Self::HangsInDelete,
        Self::FailsInCreate,
        Self::FailsInStart,
        Self::FailsInDelete,
        Self::LiesInCreate,
    ];

    /// The handler that uses it.
    #[must_use]
    pub fn handler(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Puts a script before the real `bridge` plugin.
pub fn plugins(node: &Node) -> Result<()> {
    let dir = node.dir().join("fake-plugins");
    fs::create_dir_all(&dir)?;
    let (mode, real) = (node.dir().join("plugin-mode"), &node.parts().plugins);
    let (mode, real) = (mode.display(), real.display());
    let script = format!(
        r#"real() {{ {real}/bridge; }}
case $(cat {mode} 2>/dev/null):$CNI_COMMAND in
HangsInAdd:ADD | HangsInDel:DEL) tail -f {mode} ;;
RefusesAdd:ADD | RefusesDel:DEL)
	echo '{{"cniVersion":"1.0.0","code":100,"msg":"the test plugin says no"}}'
	exit 1
	;;
DiesInAdd:ADD) kill -KILL $$ ;;
Babbles:ADD) real >/dev/null && echo 'all is well' ;;
IsSilent:ADD) real >/dev/null ;;
LiesAboutAddress:ADD) real | sed 's/"address": "10[^"]*"/"address": "ten.eighty-six"/' ;;
GivesNoAddress:ADD) echo '{{"cniVersion":"1.0.0","interfaces":[],"ips":[]}}' ;;
*) real ;;
esac
"#
    );
    program(&dir.join("bridge"), &script)?;
    node.reword("plugin_dirs = [", &format!("plugin_dirs = [\"{}\", ", dir.display()))
}

/// Tells the plugin what to do from now on.
pub fn plugin(node: &Node, behaviour: Plugin) -> Result<()> {
    let path = node.dir().join("plugin-mode");
    fs::write(&path, format!("{behaviour:?}")).with_context(|| path.display().to_string())
}

/// Adds a handler for each behaviour of an OCI runtime, with short deadlines.
pub fn runtimes(node: &Node) -> Result<()> {
    let name = &node.parts().runtime;
    let real = Command::new("sh").arg("-c").arg(format!("command -v {name}")).output()?;
    ensure!(real.status.success(), "no {name} on PATH");
    let real = String::from_utf8(real.stdout)?.trim().to_owned();
    let dir = node.dir().join("fake-runtimes");
    fs::create_dir_all(&dir)?;
    let mut handlers = String::new();
    for behaviour in Runtime::ALL.into_iter().chain([Runtime::SlowInStart]) {
        let handler = behaviour.handler();
        let path = dir.join(format!("{handler}-{name}"));
        program(&path, &runtime_script(node, behaviour, &real))?;
        handlers.push_str(&format!(
            "[runtime.runtimes.{handler}]\nruntime_path = \"{}\"\n",
            path.display()
        ));
    }
    node.configure(&handlers)
}

fn runtime_script(node: &Node, behaviour: Runtime, real: &str) -> String {
    let healed = node.dir().join("runtimes-work");
    let healed = healed.display();
    let (verb, act) = match behaviour {
        Runtime::HangsInCreate => ("create", "hang"),
        Runtime::HangsInStart => ("start", "hang"),
        Runtime::SlowInStart => ("start", "sleep 2 #"),
        Runtime::HangsInDelete => ("delete", "hang"),
        Runtime::FailsInCreate => ("create", "fail"),
        Runtime::FailsInStart => ("start", "fail"),
        Runtime::FailsInDelete => ("delete", "fail"),
        Runtime::LiesInCreate => ("create", "exit 0 #"),
    };
    format!(
        r#"hang() {{ tail -f "$0"; }}
fail() {{
	# As the real ones do: to the log that was asked for.
	log=/dev/stderr
	while [ $# -gt 0 ]; do
		case $1 in
		--log) log=$2 ;;
		--log=*) log=${{1#--log=}} ;;
		esac
		shift
	done
	echo '{{"level":"error","msg":"the test runtime says no"}}' >>"$log"
	exit 1
}}
if [ ! -e {healed} ]; then
	for word; do
		case $word in
		create | start | delete | state | kill | exec | update) verb=$word && break ;;
		esac
	done
	[ "$verb" != {verb} ] || {act} "$@"
fi
exec {real} "$@"
"#
    )
}

/// From now on all runtimes work.
pub fn heal_runtimes(node: &Node) -> Result<()> {
    Ok(fs::write(node.dir().join("runtimes-work"), "")?)
}

/// Deadlines short enough to wait for.
pub fn deadlines(node: &Node) -> Result<()> {
    let keys = ["cni", "runtime", "kill", "shim_call"];
    let keys = keys.map(|key| format!("{key} = {DEADLINE}\n")).concat();
    node.configure(&format!("[deadlines]\n{keys}registry = 2\nrestart = 5\n"))
}
