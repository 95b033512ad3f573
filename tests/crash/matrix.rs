//! Visits all cases of a story: a kill at each of its failpoints, combined with the loss of each answer of the server.
//!
//! A row of the matrix is one world, in which the story runs once for each failpoint, with the same answers lost each time. The
//! rows of a story run side by side, each on its own thread, because they mostly wait.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::panic::resume_unwind;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Story;
use super::scene::Scene;
use crate::support::eventually;

/// How many rows run at a time, in all tests together.
static SLOTS: Semaphore = Semaphore::const_new(10);

/// The name of a failpoint; `None` if the victim is not killed.
type KillPoint = Option<String>;

/// The RPCs that a run has called.
type Calls = BTreeSet<&'static str>;

/// An answer of the server that is lost once.
#[derive(Clone, Copy, Debug)]
pub struct LostAnswer {
    pub rpc: &'static str,
    /// A stream breaks after its first message, instead of not being opened.
    midway: bool,
}

impl LostAnswer {
    /// The ways in which the answer to a call can be lost.
    fn of(rpc: &'static str) -> Vec<LostAnswer> {
        let is_stream = rpc.starts_with("Subscribe");
        let ways: &[bool] = if is_stream { &[false, true] } else { &[false] };
        let answers = ways.iter().map(|&midway| LostAnswer { rpc, midway });
        answers.collect()
    }

    /// The fault that loses it.
    pub fn rule(&self) -> Value {
        let action = if self.midway {
            json!({"type": "cut_stream_after", "messages": 1})
        } else {
            json!({"type": "drop_after"})
        };
        json!({"target": self.rpc, "times": 1, "action": action})
    }
}

/// What happens to the victim in one pass of a story.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where the victim is killed.
    pub kill_point: KillPoint,
    /// The answers that are lost.
    pub lost: Vec<LostAnswer>,
}

impl Case {
    /// Whether the victim is killed.
    pub fn kills(&self) -> bool {
        self.kill_point.is_some()
    }

    /// Whether the victim is killed at a failpoint whose name begins like this.
    pub fn kills_at(&self, prefix: &str) -> bool {
        let kill_point = self.kill_point.as_ref();
        kill_point.is_some_and(|name| name.starts_with(prefix))
    }

    /// Whether the answer to this call is lost.
    pub fn loses(&self, rpc: &str) -> bool {
        self.lost.iter().any(|lost| lost.rpc == rpc)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "killed at {:?}, lost {:?}",
            self.kill_point, self.lost
        )
    }
}

/// The cases of one row, in the order in which a story goes through them.
pub struct Run {
    story: Story,
    lost: Vec<LostAnswer>,
    kill_points: VecDeque<KillPoint>,
    current: Option<Case>,
    told: Told,
    is_complete: bool,
}

/// What a row has told.
#[derive(Default)]
struct Told {
    /// The calls that were made.
    calls: Calls,
    /// The number of cases in which the victim was killed, if it was to be, and all answers were lost.
    complete: usize,
    /// The number of cases in which a call is not made whose answer was to be lost.
    without_loss: usize,
}

impl Run {
    /// Ends the case before, and begins the next one. After the last one, checks that no sat is missing in the whole world.
    pub async fn next_case(&mut self, scene: &mut Scene) -> Option<Case> {
        if let Some(case) = &self.current {
            // The end of a case asserts that the victim was killed.
            if self.story.tells(case) {
                // Some calls are only made when all else is done.
                let what = format!("the answers are lost: {:?}, {case}", self.story);
                eventually(&what, async || scene.all_lost().then_some(())).await;
                self.told.complete += 1;
            } else {
                self.told.without_loss += 1;
            }
            self.told.calls.extend(scene.end_case(case));
        }
        let Some(kill_point) = self.kill_points.pop_front() else {
            scene.assert_conserved().await;
            self.is_complete = true;
            return None;
        };
        self.current = Some(Case {
            kill_point,
            lost: self.lost.clone(),
        });
        self.current.clone()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let (true, Some(case)) = (std::thread::panicking(), &self.current) {
            println!("failed: {:?}, {case}", self.story);
        }
    }
}

/// Runs a story without any fault and with a kill at each of its failpoints, in one world.
pub async fn visit_kills<F>(story: Story, visit: F)
where
    F: AsyncFn(&mut Run) + Copy + Send + 'static,
{
    let failpoints = story.failpoints().into_iter().map(Some);
    let kill_points = [None].into_iter().chain(failpoints).collect();
    let row = tokio::task::spawn_blocking(move || run_row(story, visit, &[], kill_points));
    row.await
        .unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
}

/// Runs a story without any fault, then with a kill at each of its failpoints, then with each kill and the loss of the answer to
/// each call that was seen in any run, until there is no call left whose answer was not lost.
///
/// If a call is only made because another answer was lost, both answers are lost together.
pub async fn visit_kills_and_losses<F>(story: Story, visit: F)
where
    F: AsyncFn(&mut Run) + Copy + Send + 'static,
{
    let kill_points: VecDeque<KillPoint> = story.failpoints().into_iter().map(Some).collect();
    let mut rows = JoinSet::new();
    // The row without a kill is short and finds most calls, so that their rows can begin.
    let mut planned = vec![
        (Vec::new(), VecDeque::from([None])),
        (Vec::new(), kill_points.clone()),
    ];
    let mut rows_without_loss = planned.len();
    let (mut seen, mut lost) = (Calls::new(), Calls::new());
    let mut found_by_loss = Vec::new();
    let (mut complete, mut without_loss) = (0, 0);
    loop {
        for (answers, kill_points) in planned.drain(..) {
            rows.spawn_blocking(move || {
                let told = run_row(story, visit, &answers, kill_points);
                (answers, told)
            });
        }
        let Some(row) = rows.join_next().await else {
            break;
        };
        let (answers, told) = row.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
        complete += told.complete;
        without_loss += told.without_loss;
        let calls = told.calls;
        seen.extend(calls.iter().copied().filter(|rpc| story.depends_on(rpc)));
        let mut found = Vec::new();
        if answers.is_empty() {
            rows_without_loss -= 1;
            found.push((answers, calls));
        } else {
            found_by_loss.push((answers, calls));
        }
        // A call that is made without any loss is lost alone, so these have to be known first.
        if rows_without_loss == 0 {
            found.append(&mut found_by_loss);
        }
        for (answers, calls) in found {
            for rpc in calls {
                if story.depends_on(rpc) && lost.insert(rpc) {
                    planned.extend(LostAnswer::of(rpc).into_iter().map(|answer| {
                        let together = answers.iter().copied().chain([answer]).collect();
                        (together, kill_points.clone())
                    }));
                }
            }
        }
    }
    assert_eq!(seen, lost, "{story:?}: a call whose answer was never lost");
    println!(
        "{story:?}: {} failpoints, lost answers: {lost:?}; {complete} cases told, in {without_loss} more a call is not made",
        kill_points.len()
    );
}

/// Runs a story in one world, once for each of these failpoints; answers what was told.
fn run_row(
    story: Story,
    visit: impl AsyncFn(&mut Run),
    lost: &[LostAnswer],
    kill_points: VecDeque<KillPoint>,
) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut run = Run {
        story,
        lost: lost.to_vec(),
        kill_points,
        current: None,
        told: Told::default(),
        is_complete: false,
    };
    runtime.expect("a runtime").block_on(async {
        let _slot = SLOTS.acquire().await.expect("it is never closed");
        visit(&mut run).await;
    });
    assert!(run.is_complete, "the story has left out cases");
    std::mem::take(&mut run.told)
}
