// SPDX-License-Identifier: Apache-2.0
//! The task that owns a pod. It alone changes the pod's state: it takes requests from its inbox,
//! runs the pieces of work that [`PodState::steps`] allows, records their outcome, and shows the
//! result as one [`PodView`].

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use crisp_words::ContainerId;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use super::{
    context::Context,
    error::{FaultKind, PodError},
    message::{Message, PodView, Reply},
    record::{Answer, PodPhase, PodRecord},
    shim::PodShim,
    spec::Resources,
    state::{Ask, Goal, PodGoal, PodState, PodWork, Seat, Step, Verdict, Work},
    teardown::{self, Left},
};
use crate::{
    containers::{
        self, create,
        record::{Cause, ContainerRecord, Exit, HostState, Phase, Run},
        spec::ContainerConfig,
    },
    nri::{self, Happened},
};

/// How a piece of work ended.
enum Outcome {
    Created(ContainerId, Result<Box<create::Created>, create::Failed>),
    Started(ContainerId, Result<Run, PodError>),
    Stopped(ContainerId, Result<(), PodError>),
    Updated(ContainerId, Result<Box<Resources>, PodError>),
    Adjusted(ContainerId, Result<Box<Resources>, PodError>, Reply<()>),
    Told(ContainerId),
    PodUpdate(PodUpdate, Result<(), PodError>),
    ToldOfPod,
    Released(ContainerId, Result<(), PodError>),
    /// What is going is shown no more before the passage is dropped.
    Erased(ContainerId, Result<(), PodError>, nri::Passage),
    Exited(ContainerId, Exit),
    TornDown(Vec<Left>),
    PodErased(Result<(), PodError>, nri::Passage),
    ShimGone,
    ShimAsked,
}

/// New sums of resources.
struct PodUpdate {
    overhead: Option<Box<Resources>>,
    resources: Option<Box<Resources>>,
    reply: Reply<()>,
}

/// Ends that plugins have been told of: a retry after a failure does not tell them again.
#[derive(Default)]
struct EndsTold {
    containers: HashSet<ContainerId>,
    pod: bool,
}

/// Who waits for what about one container.
#[derive(Default)]
struct Waiting {
    create: Vec<Reply<ContainerId>>,
    start: Vec<Reply<()>>,
    stop: Vec<Reply<()>>,
    update: Vec<Reply<()>>,
    remove: Vec<Reply<()>>,
}

/// The levers of a running container.
struct Process {
    /// When a stop in flight kills; shortened by a later, less patient request.
    patience: watch::Sender<Instant>,
    /// True once its exit is on record.
    gone: watch::Sender<bool>,
}

/// The task's own memory.
pub struct Actor {
    context: Arc<Context>,
    state: PodState,
    shim: Option<Arc<PodShim>>,
    inbox: mpsc::Receiver<Message>,
    view: watch::Sender<Arc<PodView>>,
    work: JoinSet<Outcome>,
    waiting: HashMap<ContainerId, Waiting>,
    processes: HashMap<ContainerId, Process>,
    stop_waiting: Vec<Reply<()>>,
    remove_waiting: Vec<Reply<()>>,
    /// Requests to be asked again when some work has ended.
    parked: Vec<Message>,
    ends_told: EndsTold,
}

/// What a pod's task begins with.
pub struct Beginning {
    /// The sandbox's record.
    pub record: PodRecord,
    /// Its containers' records.
    pub containers: Vec<ContainerRecord>,
    /// Its shim, if it lives.
    pub shim: Option<PodShim>,
}

/// How others reach a pod's task.
pub struct Door {
    /// Requests go in here.
    pub inbox: mpsc::Sender<Message>,
    /// What the pod looks like.
    pub view: watch::Receiver<Arc<PodView>>,
    /// The pod's shim, for calls that change nothing (exec, statistics).
    pub shim: Option<Arc<PodShim>>,
}

/// Requests that may queue for one pod before callers wait to hand theirs in.
const INBOX: usize = 64;

/// The task of a pod and the door to it. The door must be in the index before the task runs: its
/// work looks up containers there.
#[must_use]
pub fn open(context: Arc<Context>, beginning: Beginning) -> (Door, Actor) {
    let mut state = PodState::new(beginning.record);
    for record in beginning.containers {
        state.containers.insert(record.id.clone(), Seat::new(record));
    }
    let (send, inbox) = mpsc::channel(INBOX);
    let (view, seen) = watch::channel(Arc::new(view_of(&state)));
    let shim = beginning.shim.map(Arc::new);
    let actor = Actor {
        context,
        state,
        shim: shim.clone(),
        inbox,
        view,
        work: JoinSet::new(),
        waiting: HashMap::new(),
        processes: HashMap::new(),
        stop_waiting: Vec::new(),
        remove_waiting: Vec::new(),
        parked: Vec::new(),
        ends_told: EndsTold::default(),
    };
    (Door { inbox: send, view: seen, shim }, actor)
}

fn view_of(state: &PodState) -> PodView {
    PodView {
        pod: state.record.clone(),
        containers: state
            .containers
            .values()
            .filter(|seat| seat.record.is_visible())
            .map(|seat| seat.record.clone())
            .collect(),
    }
}

impl Actor {
    /// Picks up what was running before this daemon: every running container is waited for.
    fn take_up(&mut self) {
        let running: Vec<_> = self
            .state
            .containers
            .values()
            .filter_map(|seat| Some((seat.record.id.clone(), seat.record.running()?.clone())))
            .collect();
        for (id, run) in running {
            self.watch_exit(&id, run);
        }
        if let Some(shim) = self.shim.clone() {
            let pod = self.state.record.id.clone();
            self.work.spawn(async move {
                shim.gone(&pod).await;
                Outcome::ShimGone
            });
        }
        self.advance();
    }

    /// Owns the pod until it is erased or the node ends.
    pub async fn run(mut self) {
        self.take_up();
        loop {
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                Some(ended) = self.work.join_next() => match ended {
                    Ok(outcome) => {
                        if self.settle(outcome) {
                            break;
                        }
                        self.ask_again();
                    }
                    Err(bug) => tracing::error!(pod = %self.state.record.id, %bug, "work failed"),
                },
            }
            self.advance();
        }
    }

    fn ask_again(&mut self) {
        for message in std::mem::take(&mut self.parked) {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Create(config, reply) => self.take_create(config, reply),
            Message::Start(id, reply) => self.take_start(id, reply),
            Message::Stop(id, timeout, reply) => self.take_stop(id, timeout, reply),
            Message::Remove(id, reply) => self.take_remove(id, reply),
            Message::Update(id, resources, reply) => self.take_update(id, resources, reply),
            Message::Adjust(id, asked, reply) => self.take_adjust(id, asked, reply),
            Message::StopPod(reply) => self.take_stop_pod(reply),
            Message::RemovePod(reply) => self.take_remove_pod(reply),
            Message::UpdatePod { overhead, resources, reply } => {
                self.take_update_pod(PodUpdate { overhead, resources, reply });
            }
            Message::Told => {
                Arc::make_mut(&mut self.state.record).answer = Answer::Given;
                if let Err(error) = self.save_pod() {
                    tracing::warn!(pod = %self.state.record.id, %error, "answer not on record");
                }
            }
        }
    }

    fn take_create(&mut self, config: Box<ContainerConfig>, reply: Reply<ContainerId>) {
        match self.state.admit(Ask::Create(&config)) {
            Verdict::Go => self.begin_create(*config, reply),
            Verdict::JoinCreation(id) => self.waiting(&id).create.push(reply),
            Verdict::Claim(id) => {
                if reply.send(Ok(id.clone())).is_ok() {
                    self.change(&id, |record| record.answer = Answer::Given);
                }
            }
            Verdict::Refuse(error) => answer(reply, Err(error)),
            Verdict::Wait | Verdict::Join | Verdict::Done => {
                self.parked.push(Message::Create(config, reply));
            }
        }
    }

    fn begin_create(&mut self, config: ContainerConfig, reply: Reply<ContainerId>) {
        let Some(shim) = self.shim.clone() else {
            return answer(reply, Err(self.no_shim()));
        };
        let record = ContainerRecord {
            id: super::ids::container(),
            pod: self.state.record.id.clone(),
            resources: config.resources.clone(),
            config,
            created_at_ns: super::clock::now_ns(),
            phase: Phase::Creating,
            answer: Answer::Pending,
            made: None,
            host: HostState::Held,
        };
        let id = record.id.clone();
        if let Err(error) = self.context.write_container(&record) {
            self.context.drop_container(&id);
            return answer(reply, Err(error));
        }
        self.waiting(&id).create.push(reply);
        let mut seat = Seat::new(record);
        seat.work = Some(Work::Create);
        let (context, pod, record) =
            (self.context.clone(), self.state.record.clone(), seat.record.clone());
        let target = self.target_pid(&record.config);
        self.state.containers.insert(id.clone(), seat);
        self.work.spawn(async move {
            let made = match target {
                Ok(target) => create::create(&context, &pod, &shim, &record, target).await,
                // Of a container that was not begun there is only the record.
                Err(error) => Err(create::Failed { error, left: create::Left::Something }),
            };
            Outcome::Created(id, made.map(Box::new))
        });
    }

    /// Pid of the container whose PID namespace the new one joins, if it joins one.
    fn target_pid(&self, config: &ContainerConfig) -> Result<Option<u32>, PodError> {
        let super::spec::PidSharing::Target(target) = &config.security.namespaces.pid else {
            return Ok(None);
        };
        let seat = self
            .state
            .containers
            .get(target)
            .ok_or_else(|| PodError::NoContainer(target.to_string()))?;
        match seat.record.running() {
            Some(run) => Ok(Some(run.pid)),
            None => Err(PodError::ContainerState {
                id: target.clone(),
                state: "not running",
                wanted: "its PID namespace can be joined only while it runs",
            }),
        }
    }

    fn take_start(&mut self, id: ContainerId, reply: Reply<()>) {
        match self.state.admit(Ask::Start(&id)) {
            Verdict::Go => {
                let Some(shim) = self.shim.clone() else {
                    return answer(reply, Err(self.no_shim()));
                };
                self.waiting(&id).start.push(reply);
                let Some(record) = self.set_work(&id, Work::Start) else { return };
                let (context, pod) = (self.context.clone(), self.state.record.clone());
                self.work.spawn(async move {
                    let started = containers::start::start(&context, &pod, &shim, &record).await;
                    Outcome::Started(id, started)
                });
            }
            Verdict::Join => self.waiting(&id).start.push(reply),
            Verdict::Refuse(error) => answer(reply, Err(error)),
            _ => self.parked.push(Message::Start(id, reply)),
        }
    }

    fn take_stop(&mut self, id: ContainerId, timeout: Duration, reply: Reply<()>) {
        match self.state.admit(Ask::Stop(&id)) {
            Verdict::Go => {
                self.waiting(&id).stop.push(reply);
                self.begin_stop(&id, timeout);
            }
            Verdict::Join => {
                self.waiting(&id).stop.push(reply);
                self.shorten(&id, timeout);
            }
            Verdict::Done => answer(reply, Ok(())),
            Verdict::Refuse(error) => answer(reply, Err(error)),
            _ => self.parked.push(Message::Stop(id, timeout, reply)),
        }
    }

    fn begin_stop(&mut self, id: &ContainerId, timeout: Duration) {
        let Some(seat) = self.state.containers.get_mut(id) else { return };
        seat.fault = None;
        let Some(process) = self.processes.get(id) else { return };
        seat.work = Some(Work::Stop);
        process.patience.send_replace(Instant::now() + timeout);
        let stop = containers::stop::Stop {
            id: id.clone(),
            signal: seat.record.made.as_ref().map_or(libc::SIGTERM, |made| made.stop_signal),
            patience: process.patience.subscribe(),
            gone: process.gone.subscribe(),
        };
        let (context, shim, id) = (self.context.clone(), self.shim.clone(), id.clone());
        self.work.spawn(async move {
            let stopped = containers::stop::stop(&context, shim.as_deref(), stop).await;
            Outcome::Stopped(id, stopped)
        });
    }

    fn shorten(&self, id: &ContainerId, timeout: Duration) {
        if let Some(process) = self.processes.get(id) {
            let sooner = Instant::now() + timeout;
            process.patience.send_if_modified(|until| {
                let shortens = sooner < *until;
                if shortens {
                    *until = sooner;
                }
                shortens
            });
        }
    }

    fn take_remove(&mut self, id: ContainerId, reply: Reply<()>) {
        match self.state.admit(Ask::Remove(&id)) {
            verdict @ (Verdict::Go | Verdict::Join) => {
                self.waiting(&id).remove.push(reply);
                if let (Verdict::Go, Some(seat)) = (verdict, self.state.containers.get_mut(&id)) {
                    seat.goal = Goal::Remove;
                    seat.fault = None;
                }
            }
            Verdict::Done => answer(reply, Ok(())),
            Verdict::Refuse(error) => answer(reply, Err(error)),
            _ => self.parked.push(Message::Remove(id, reply)),
        }
    }

    fn take_update(&mut self, id: ContainerId, resources: Box<Resources>, reply: Reply<()>) {
        match self.state.admit(Ask::Update(&id)) {
            Verdict::Go => {
                let (Some(seat), Some(shim)) =
                    (self.state.containers.get_mut(&id), self.shim.clone())
                else {
                    return answer(reply, Err(self.no_shim()));
                };
                // A stop in flight keeps its place; an update does not stand in its way.
                seat.work = seat.work.or(Some(Work::Update));
                let record = seat.record.clone();
                let (context, pod) = (self.context.clone(), self.state.record.clone());
                self.waiting(&id).update.push(reply);
                self.work.spawn(async move {
                    let updated =
                        containers::update::update(&context, &pod, &shim, &record, &resources)
                            .await;
                    Outcome::Updated(id, updated.map(Box::new))
                });
            }
            Verdict::Refuse(error) => answer(reply, Err(error)),
            _ => self.parked.push(Message::Update(id, resources, reply)),
        }
    }

    /// Carried out beside other work: the OCI runtime takes limits at any time, and what is in
    /// the way may wait for the plugin that asks.
    fn take_adjust(
        &mut self,
        id: ContainerId,
        asked: Box<crisp_nri::LinuxResources>,
        reply: Reply<()>,
    ) {
        let seat = self.state.containers.get(&id).filter(|seat| seat.record.is_visible());
        let Some(seat) = seat else {
            return answer(reply, Err(PodError::NoContainer(id.to_string())));
        };
        if !matches!(seat.record.phase, Phase::Created | Phase::Running(_)) {
            let state = "not running";
            let wanted = "limits are changed on a created or running container";
            return answer(reply, Err(PodError::ContainerState { id, state, wanted }));
        }
        let (Some(shim), record) = (self.shim.clone(), seat.record.clone()) else {
            return answer(reply, Err(self.no_shim()));
        };
        let context = self.context.clone();
        self.work.spawn(async move {
            let adjusted = containers::update::adjust(&context, &shim, &record, &asked).await;
            Outcome::Adjusted(id, adjusted.map(Box::new), reply)
        });
    }

    fn take_update_pod(&mut self, update: PodUpdate) {
        if self.context.nri.is_idle() {
            return self.settle_pod_update(update, Ok(()));
        }
        let (context, pod) = (self.context.clone(), self.state.record.clone());
        self.work.spawn(async move {
            let (overhead, sum) = (update.overhead.as_deref(), update.resources.as_deref());
            let allowed = nri::update_pod(&context, &pod, overhead, sum).await;
            let step = || format!("update pod {}", pod.id);
            let allowed = allowed.map_err(|e| PodError::step(step(), FaultKind::Denied, e));
            Outcome::PodUpdate(update, allowed)
        });
    }

    fn settle_pod_update(&mut self, update: PodUpdate, allowed: Result<(), PodError>) {
        let PodUpdate { overhead, resources, reply } = update;
        let saved = allowed.and_then(|()| {
            let record = Arc::make_mut(&mut self.state.record);
            record.config.overhead = overhead.map(|r| *r).or(record.config.overhead.take());
            record.config.resources = resources.map(|r| *r).or(record.config.resources.take());
            self.save_pod()
        });
        self.show();
        if saved.is_ok() && !self.context.nri.is_idle() {
            let (context, pod) = (self.context.clone(), self.state.record.clone());
            self.work.spawn(async move {
                nri::updated_pod(&context, &pod).await;
                Outcome::ToldOfPod
            });
        }
        answer(reply, saved);
    }

    fn take_stop_pod(&mut self, reply: Reply<()>) {
        match self.state.admit(Ask::StopPod) {
            Verdict::Done => answer(reply, Ok(())),
            Verdict::Join => self.stop_waiting.push(reply),
            _ => {
                self.stop_waiting.push(reply);
                self.set_goal(PodGoal::Stop);
            }
        }
    }

    fn take_remove_pod(&mut self, reply: Reply<()>) {
        self.remove_waiting.push(reply);
        self.set_goal(PodGoal::Remove);
    }

    fn set_goal(&mut self, goal: PodGoal) {
        if self.state.goal == PodGoal::Keep {
            self.ask_shim();
        }
        self.state.goal = self.state.goal.max(goal);
        for seat in self.state.containers.values_mut() {
            seat.fault = None;
        }
        let record = Arc::make_mut(&mut self.state.record);
        if record.is_ready() {
            record.phase = PodPhase::Stopping;
            if let Err(error) = self.save_pod() {
                tracing::warn!(pod = %self.state.record.id, %error, "stop is not on record");
            }
        }
        self.show();
    }

    /// A pod that is to end does not wait for a shim that hangs: without the shim, its containers
    /// are ended by their cgroups.
    fn ask_shim(&mut self) {
        let Some(shim) = self.shim.clone() else { return };
        let (context, pod) = (self.context.clone(), self.state.record.id.clone());
        self.work.spawn(async move {
            super::shim::end_if_hung(&context, &pod, &shim).await;
            Outcome::ShimAsked
        });
    }

    /// Begins every piece of work that may begin.
    fn advance(&mut self) {
        for step in self.state.steps() {
            match step {
                Step::Kill(id) => self.begin_stop(&id, Duration::ZERO),
                Step::Hurry(id) => self.shorten(&id, Duration::ZERO),
                Step::Release(id) => self.begin_release(&id),
                Step::Erase(id) => self.begin_erase(&id),
                Step::Teardown => self.begin_teardown(),
                Step::ErasePod => self.begin_erase_pod(),
            }
        }
    }

    fn begin_release(&mut self, id: &ContainerId) {
        let Some(record) = self.set_work(id, Work::Release) else { return };
        let (context, shim, id) = (self.context.clone(), self.shim.clone(), id.clone());
        let pod = self.state.record.clone();
        // Plugins know of no container that was not made.
        let tell = record.made.is_some() && self.ends_told.containers.insert(id.clone());
        self.work.spawn(async move {
            if tell {
                nri::stop_container(&context, &pod, &record).await;
            }
            let released = containers::release::release(&context, shim.as_deref(), &record).await;
            Outcome::Released(id, released)
        });
    }

    fn begin_erase(&mut self, id: &ContainerId) {
        let Some(record) = self.set_work(id, Work::Erase) else { return };
        let (context, pod, id) = (self.context.clone(), self.state.record.clone(), id.clone());
        self.work.spawn(async move {
            let passage = nri::remove_container(&context, &pod, &record).await;
            let erased = containers::erase::erase(&context, &id).await;
            Outcome::Erased(id, erased, passage)
        });
    }

    fn begin_teardown(&mut self) {
        self.state.work = Some(PodWork::Teardown);
        let (context, pod, shim) =
            (self.context.clone(), self.state.record.clone(), self.shim.clone());
        let tell = !std::mem::replace(&mut self.ends_told.pod, true);
        self.work.spawn(async move {
            if tell {
                nri::stop_pod(&context, &pod).await;
            }
            Outcome::TornDown(teardown::teardown(&context, &pod, shim.as_deref()).await)
        });
    }

    fn begin_erase_pod(&mut self) {
        self.state.work = Some(PodWork::Erase);
        let (context, pod) = (self.context.clone(), self.state.record.clone());
        self.work.spawn(async move {
            let passage = nri::remove_pod(&context, &pod).await;
            Outcome::PodErased(teardown::erase(&context, &pod).await, passage)
        });
    }

    /// Takes note of how a piece of work ended; true when the pod is no more.
    fn settle(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Created(id, made) => self.settle_created(id, made),
            Outcome::Started(id, run) => self.settle_started(id, run),
            Outcome::Stopped(id, stopped) => self.settle_stopped(&id, stopped),
            Outcome::Updated(id, updated) => self.settle_updated(&id, updated),
            Outcome::Adjusted(id, adjusted, reply) => self.settle_adjusted(&id, adjusted, reply),
            Outcome::Told(id) => self.clear_work(&id),
            Outcome::PodUpdate(update, allowed) => self.settle_pod_update(update, allowed),
            Outcome::Released(id, released) => self.settle_released(&id, released),
            Outcome::Erased(id, erased, _passage) => self.settle_erased(&id, erased),
            Outcome::Exited(id, exit) => self.settle_exited(&id, exit),
            Outcome::TornDown(left) => self.settle_torn_down(left),
            Outcome::PodErased(erased, _passage) => return self.settle_pod_erased(erased),
            Outcome::ShimGone => self.settle_shim_gone(),
            Outcome::ShimAsked | Outcome::ToldOfPod => {}
        }
        false
    }

    /// Tells plugins of what became of a container; its next piece of work waits for it.
    fn tell(&mut self, id: &ContainerId, what: Happened) {
        if self.context.nri.is_idle()
            || self.state.containers.get(id).is_none_or(|seat| seat.work.is_some())
        {
            return;
        }
        let Some(record) = self.set_work(id, Work::Tell) else { return };
        let (context, pod, id) = (self.context.clone(), self.state.record.clone(), id.clone());
        self.work.spawn(async move {
            nri::happened(&context, &pod, &record, what).await;
            Outcome::Told(id)
        });
    }

    fn settle_adjusted(
        &mut self,
        id: &ContainerId,
        adjusted: Result<Box<Resources>, PodError>,
        reply: Reply<()>,
    ) {
        let result = adjusted.map(|resources| {
            self.change(id, |record| record.resources = *resources);
            self.show();
        });
        answer(reply, result);
    }

    fn settle_created(
        &mut self,
        id: ContainerId,
        made: Result<Box<create::Created>, create::Failed>,
    ) {
        self.clear_work(&id);
        let replies = std::mem::take(&mut self.waiting(&id).create);
        let mut passage = None;
        let failure = match made {
            Ok(created) => {
                let create::Created { made, resources, passage: coming } = *created;
                passage = coming;
                let written = self.try_change(&id, |record| {
                    record.made = Some(made);
                    record.resources = resources;
                    record.phase = Phase::Created;
                });
                written.err().map(|error| (error, create::Left::Something))
            }
            Err(failed) => Some((failed.error, failed.left)),
        };
        if let Some((error, left)) = failure {
            match left {
                create::Left::Nothing => {
                    self.state.containers.remove(&id);
                    self.waiting.remove(&id);
                    self.context.forget_container(&id);
                }
                create::Left::Something => self.remove_unmade(&id, &error),
            }
            return answer_all(replies, &Err(error));
        }
        self.context.events.created(&id, &self.show());
        drop(passage);
        self.tell(&id, Happened::Created);
        let told = replies.into_iter().fold(false, |told, r| r.send(Ok(id.clone())).is_ok() | told);
        if told {
            self.change(&id, |record| record.answer = Answer::Given);
        }
    }

    /// What is left of a container that was not made is released and erased like one that ended.
    fn remove_unmade(&mut self, id: &ContainerId, error: &PodError) {
        let exit = Exit {
            started_at_ns: 0,
            finished_at_ns: super::clock::now_ns(),
            code: 128,
            cause: Cause::StartFailed,
            message: error.to_string(),
        };
        self.change(id, |record| {
            record.phase = Phase::Exited(exit);
            record.answer = Answer::Given;
        });
        if let Some(seat) = self.state.containers.get_mut(id) {
            seat.goal = Goal::Remove;
        }
        self.show();
    }

    fn settle_started(&mut self, id: ContainerId, run: Result<Run, PodError>) {
        self.clear_work(&id);
        let replies = std::mem::take(&mut self.waiting(&id).start);
        let result = match run {
            Ok(run) => {
                self.watch_exit(&id, run.clone());
                self.change(&id, |record| record.phase = Phase::Running(run));
                self.context.events.started(&id, &self.show());
                self.tell(&id, Happened::Started);
                Ok(())
            }
            Err(error) => {
                let exit = Exit {
                    started_at_ns: 0,
                    finished_at_ns: super::clock::now_ns(),
                    code: 128,
                    cause: Cause::StartFailed,
                    message: error.to_string(),
                };
                self.change(&id, |record| record.phase = Phase::Exited(exit));
                self.context.events.stopped(&id, &self.show());
                Err(error)
            }
        };
        answer_all(replies, &result);
    }

    fn watch_exit(&mut self, id: &ContainerId, run: Run) {
        let (patience, _) = watch::channel(Instant::now());
        let (gone, _) = watch::channel(false);
        self.processes.insert(id.clone(), Process { patience, gone });
        let (context, shim, id) = (self.context.clone(), self.shim.clone(), id.clone());
        self.work.spawn(async move {
            let exit = containers::exit::wait(&context, shim.as_deref(), &id, &run).await;
            Outcome::Exited(id, exit)
        });
    }

    fn settle_exited(&mut self, id: &ContainerId, exit: Exit) {
        if self.state.containers.get(id).is_none_or(|seat| seat.record.running().is_none()) {
            return;
        }
        if exit.cause == Cause::OomKilled {
            self.context.metrics.oom_killed();
        }
        self.change(id, |record| record.phase = Phase::Exited(exit));
        self.context.events.stopped(id, &self.show());
        // Only now may a stop in flight answer: its client must find the exit in the status.
        if let Some(process) = self.processes.remove(id) {
            process.gone.send_replace(true);
        }
    }

    fn settle_stopped(&mut self, id: &ContainerId, stopped: Result<(), PodError>) {
        self.clear_work(id);
        let replies = std::mem::take(&mut self.waiting(id).stop);
        answer_all(replies, &stopped);
        if let Err(error) = stopped {
            self.fail(id, error);
        }
    }

    fn settle_updated(&mut self, id: &ContainerId, updated: Result<Box<Resources>, PodError>) {
        if let Some(seat) = self.state.containers.get_mut(id)
            && seat.work == Some(Work::Update)
        {
            seat.work = None;
        }
        let replies = std::mem::take(&mut self.waiting(id).update);
        let result = updated.map(|resources| {
            self.change(id, |record| record.resources = *resources);
            self.show();
            self.tell(id, Happened::Updated);
        });
        answer_all(replies, &result);
    }

    fn settle_released(&mut self, id: &ContainerId, released: Result<(), PodError>) {
        self.clear_work(id);
        match released {
            Ok(()) => {
                self.change(id, |record| {
                    record.host = HostState::Released;
                    if record.phase == Phase::Created {
                        record.phase = Phase::Exited(Exit {
                            started_at_ns: 0,
                            finished_at_ns: super::clock::now_ns(),
                            code: 128,
                            cause: Cause::StartFailed,
                            message: "its pod was stopped before it was started".into(),
                        });
                    }
                });
                self.show();
            }
            Err(error) => self.fail(id, error),
        }
    }

    fn settle_erased(&mut self, id: &ContainerId, erased: Result<(), PodError>) {
        self.clear_work(id);
        if let Err(error) = erased {
            return self.fail(id, error);
        }
        self.state.containers.remove(id);
        self.ends_told.containers.remove(id);
        self.context.forget_container(id);
        self.context.events.deleted(id, &self.show());
        if let Some(waiting) = self.waiting.remove(id) {
            answer_all(waiting.remove, &Ok(()));
            answer_all(waiting.stop, &Ok(()));
        }
    }

    /// A step towards a container's removal, or its pod's end, failed: whoever waits is told, and
    /// the next request tries again.
    fn fail(&mut self, id: &ContainerId, error: PodError) {
        tracing::warn!(container = %id, %error, "container keeps part of the host");
        let removes = std::mem::take(&mut self.waiting(id).remove);
        answer_all(removes, &Err(error.clone()));
        if let Some(seat) = self.state.containers.get_mut(id) {
            seat.goal = Goal::Keep;
            seat.fault = Some(error.clone());
        }
        self.fail_pod(error);
    }

    fn fail_pod(&mut self, error: PodError) {
        let result = Err(error);
        answer_all(std::mem::take(&mut self.stop_waiting), &result);
        answer_all(std::mem::take(&mut self.remove_waiting), &result);
        self.state.goal = PodGoal::Keep;
    }

    fn settle_torn_down(&mut self, left: Vec<Left>) {
        self.state.work = None;
        self.shim = None;
        let first = left.first().cloned();
        let pending = left.into_iter().map(|left| left.to_string()).collect();
        Arc::make_mut(&mut self.state.record).phase = PodPhase::NotReady { pending };
        if let Err(error) = self.save_pod() {
            tracing::warn!(pod = %self.state.record.id, %error, "stop is not on record");
        }
        self.context.events.stopped_pod(&self.show());
        if let Some(left) = first {
            return self.fail_pod(left.into());
        }
        answer_all(std::mem::take(&mut self.stop_waiting), &Ok(()));
        if self.state.goal == PodGoal::Stop {
            self.state.goal = PodGoal::Keep;
        }
    }

    fn settle_pod_erased(&mut self, erased: Result<(), PodError>) -> bool {
        self.state.work = None;
        match erased {
            Ok(()) => {
                self.context.forget_pod(&self.state.record);
                self.context.events.deleted_pod(&view_of(&self.state));
                answer_all(std::mem::take(&mut self.remove_waiting), &Ok(()));
                answer_all(std::mem::take(&mut self.stop_waiting), &Ok(()));
                true
            }
            Err(error) => {
                self.fail_pod(error);
                false
            }
        }
    }

    /// The shim is gone without having been asked to go. Its containers' exits come from their
    /// records, or are lost; the pod cannot go on.
    fn settle_shim_gone(&mut self) {
        if self.shim.is_none() || self.state.work == Some(PodWork::Teardown) {
            return;
        }
        tracing::error!(pod = %self.state.record.id, "shim is gone");
        self.context.metrics.shim_died();
        if self.state.goal == PodGoal::Keep && self.state.record.is_ready() {
            let phase = PodPhase::NotReady { pending: vec!["its shim is gone".into()] };
            Arc::make_mut(&mut self.state.record).phase = phase;
            if let Err(error) = self.save_pod() {
                tracing::warn!(pod = %self.state.record.id, %error, "loss of shim not on record");
            }
            self.context.events.stopped_pod(&self.show());
        }
    }

    fn no_shim(&self) -> PodError {
        PodError::PodState {
            id: self.state.record.id.clone(),
            state: self.state.state_name(),
            wanted: "its shim must run",
        }
    }

    fn waiting(&mut self, id: &ContainerId) -> &mut Waiting {
        self.waiting.entry(id.clone()).or_default()
    }

    fn set_work(&mut self, id: &ContainerId, work: Work) -> Option<Arc<ContainerRecord>> {
        let seat = self.state.containers.get_mut(id)?;
        seat.work = Some(work);
        Some(seat.record.clone())
    }

    fn clear_work(&mut self, id: &ContainerId) {
        if let Some(seat) = self.state.containers.get_mut(id) {
            seat.work = None;
        }
    }

    /// Changes a container and its record. A record that cannot be written is logged: what it
    /// would say is found out again from the shim.
    fn change(&mut self, id: &ContainerId, change: impl FnOnce(&mut ContainerRecord)) {
        if let Err(error) = self.try_change(id, change) {
            tracing::warn!(container = %id, %error, "change is not on record");
        }
    }

    fn try_change(
        &mut self,
        id: &ContainerId,
        change: impl FnOnce(&mut ContainerRecord),
    ) -> Result<(), PodError> {
        let Some(seat) = self.state.containers.get_mut(id) else {
            return Err(PodError::NoContainer(id.to_string()));
        };
        let record = Arc::make_mut(&mut seat.record);
        change(record);
        self.context.write_container(record)
    }

    fn save_pod(&self) -> Result<(), PodError> {
        self.context.write_pod(&self.state.record)
    }

    /// Shows the pod as it is now.
    fn show(&self) -> Arc<PodView> {
        let view = Arc::new(view_of(&self.state));
        self.view.send_replace(view.clone());
        self.context.index(&view);
        view
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T, PodError>) {
    // A client that no longer listens finds the result when it asks again.
    let _ = reply.send(result);
}

fn answer_all<T: Clone>(replies: Vec<Reply<T>>, result: &Result<T, PodError>) {
    for reply in replies {
        answer(reply, result.clone());
    }
}
