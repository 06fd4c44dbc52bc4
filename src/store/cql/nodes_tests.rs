use super::*;

/// Up to three nodes, a judge, and a clock that advances by a step with each look.
struct World {
    nodes: Arc<Nodes>,
    judge: NodeJudge,
    start: Instant,
    millis: u64,
    /// Whether each node answers a probe.
    answers: [bool; 3],
    connected: [bool; 3],
    probes: u32,
    silences: u32,
}

const STEP: u64 = 100;

impl World {
    fn of(count: usize) -> Self {
        let start = Instant::now();
        let nodes = Arc::new(Nodes::new(start));
        let judge = NodeJudge::new(nodes.clone(), start);
        let connected = std::array::from_fn(|n| n < count);
        let mut world = Self { nodes, judge, start, millis: 1, answers: [true; 3], connected, probes: 0, silences: 0 };
        world.set(count);
        world
    }

    fn set(&mut self, count: usize) {
        let present: Vec<_> = (0..count).map(|n| (id(n), format!("node-{n}:9042").into(), self.connected[n])).collect();
        self.judge.set(&present);
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.millis)
    }

    fn node(&self, n: usize) -> Arc<NodeRecord> {
        self.nodes.get(id(n)).unwrap()
    }

    fn ask(&self, n: usize) {
        self.nodes.asked(&self.node(n), self.now());
    }

    fn answer(&self, n: usize) {
        self.nodes.answered(&self.node(n), self.now());
        self.node(n).settled();
    }

    /// Looks again and again until `millis` have passed. Probes are answered before the next look.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / STEP {
            let judgement = self.judge.look(self.now());
            self.probes += u32::try_from(judgement.probe.len()).unwrap();
            self.silences += u32::try_from(judgement.silent.len()).unwrap();
            self.millis += STEP;
            for n in 0..3 {
                if self.answers[n] && self.judge.watched.iter().any(|w| w.node.id == id(n) && w.probe.is_some()) {
                    self.judge.probed(id(n), true, self.now());
                }
            }
        }
    }

    fn silent(&self) -> Vec<usize> {
        (0..3).filter(|n| self.nodes.get(id(*n)).is_some_and(|node| node.is_silent())).collect()
    }
}

fn id(n: usize) -> Uuid {
    Uuid::from_u128(n as u128)
}

#[test]
fn a_node_that_owes_and_is_quiet_while_others_answer_is_silent_after_a_second() {
    let mut world = World::of(3);
    world.ask(0);
    world.answers[0] = false;
    world.pass(900);
    assert_eq!(world.silent(), [0; 0]);
    world.pass(400);
    assert_eq!(world.silent(), [0], "the others had nothing to do, and were probed to compare");
    assert!(world.nodes.any_silent());
}

#[test]
fn a_silent_node_is_asked_like_the_others_again_as_soon_as_it_answers_promptly() {
    let mut world = World::of(3);
    world.ask(0);
    world.answers[0] = false;
    world.pass(40_000);
    assert_eq!((world.silent(), world.silences), (vec![0], 1), "once, and it stays so");
    world.answers[0] = true;
    world.pass(STEP);
    assert_eq!(world.silent(), [0], "the probe that it answers now was sent long ago");
    world.pass(3 * STEP);
    assert_eq!(world.silent(), [0; 0]);
    assert!(!world.nodes.any_silent());
}

#[test]
fn a_node_with_nothing_but_an_answer_that_takes_long_is_not_silent() {
    let mut world = World::of(3);
    world.ask(0);
    world.pass(10_000);
    assert_eq!(world.silences, 0, "it answers its probes");
}

#[test]
fn a_node_that_answers_any_request_is_not_silent() {
    let mut world = World::of(3);
    world.answers[0] = false;
    world.ask(0);
    for _ in 0..20 {
        world.ask(0);
        world.pass(500);
        world.answer(0);
    }
    assert_eq!(world.silences, 0);
}

#[test]
fn nodes_that_all_do_not_answer_are_not_silent() {
    let mut world = World::of(3);
    world.answers = [false; 3];
    for n in 0..3 {
        world.ask(n);
    }
    world.pass(10_000);
    assert_eq!(world.silences, 0);
}

#[test]
fn half_of_the_nodes_or_more_are_never_silent() {
    let mut world = World::of(3);
    (world.answers[0], world.answers[1]) = (false, false);
    world.ask(0);
    world.pass(1_500);
    assert_eq!(world.silent(), [0]);
    world.ask(1);
    world.pass(10_000);
    assert_eq!((world.silent(), world.silences), (vec![0], 1));
    world.answers[0] = true;
    world.pass(2_000);
    assert_eq!(world.silent(), [1], "one is back, so there is room for the other");

    let mut world = World::of(2);
    world.answers[0] = false;
    world.ask(0);
    world.pass(10_000);
    assert_eq!(world.silences, 0, "one of two is half of them");
}

#[test]
fn a_node_alone_is_never_silent_nor_probed() {
    let mut world = World::of(1);
    world.answers = [false; 3];
    world.ask(0);
    world.pass(10_000);
    assert_eq!((world.silences, world.probes), (0, 0));
}

#[test]
fn a_silent_node_is_so_no_longer_when_there_is_nobody_else() {
    let silent = || {
        let mut world = World::of(3);
        world.ask(0);
        world.answers[0] = false;
        world.pass(5_000);
        assert_eq!(world.silent(), [0]);
        world
    };
    let mut world = silent();
    world.answers = [false; 3];
    world.pass(2_000);
    assert_eq!(world.silent(), [0], "a pause of all does not end it");
    world.pass(2_000);
    assert_eq!(world.silent(), [0; 0], "the others don't answer either");

    let mut world = silent();
    world.connected = [true, false, false];
    world.set(3);
    world.pass(STEP);
    assert_eq!(world.silent(), [0; 0], "there is no connection to the others");

    let mut world = silent();
    world.set(1);
    world.pass(STEP);
    assert_eq!(world.silent(), [0; 0], "the others have left");
}

#[test]
fn nobody_is_probed_while_all_is_well_or_nothing_is_asked_for() {
    let mut world = World::of(3);
    world.pass(10_000);
    for round in 0..100 {
        world.ask(round % 3);
        world.pass(STEP);
        world.answer(round % 3);
    }
    assert_eq!(world.probes, 0);
}

#[test]
fn what_is_not_answered_while_this_process_is_held_up_is_held_against_nobody() {
    let mut world = World::of(3);
    world.answers = [false; 3];
    world.ask(0);
    world.pass(400);
    assert_eq!(world.probes, 3, "it is suspected");
    // The process is stopped and continued. It reads one answer before the look; the other answers still lie in their buffers.
    world.millis += 40_000;
    world.answers[1] = true;
    world.judge.probed(id(1), true, world.now());
    world.pass(STEP);
    assert_eq!(world.silences, 0);
    world.answers = [true; 3];
    world.pass(2_000);
    assert_eq!(world.silences, 0);
}

#[test]
fn the_record_of_a_node_outlives_the_going_and_coming_of_another() {
    let mut world = World::of(3);
    world.ask(0);
    world.answers[0] = false;
    world.pass(2_000);
    let (silent, other) = (world.node(0), world.node(2));
    world.set(2);
    world.pass(STEP);
    world.set(3);
    world.pass(STEP);
    assert!(Arc::ptr_eq(&silent, &world.node(0)) && !Arc::ptr_eq(&other, &world.node(2)));
    assert_eq!(world.silent(), [0]);
}

#[test]
fn a_plan_keeps_its_order_but_for_silent_nodes_which_come_last() {
    for (plan, silent, expected) in [
        ("abc", "", "abc"),
        ("abc", "a", "bca"),
        ("abc", "b", "acb"),
        ("abc", "c", "abc"),
        ("abcd", "ca", "bdac"),
        ("abc", "abc", "abc"),
        ("", "a", ""),
    ] {
        let got: String = silent_last(plan.chars(), |node| silent.contains(*node)).into_iter().collect();
        assert_eq!(got, expected, "{plan} without {silent}");
    }
}
