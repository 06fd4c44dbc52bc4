//! The kinds of metrics. The values of a label are a finite type, so that the series of each combination of values exists from the start.
//! (A counter that appears with its first event hides that event from `rate`.) Looking up a series is an index into a vector.

use prometheus::core::{Atomic, Collector, GenericGaugeVec};
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result,
};
use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::{Mutex, PoisonError};

/// A label, or a pair of labels, with all possible values.
pub trait Label: Copy + 'static {
    /// The number of values.
    const COUNT: usize;

    /// Returns the names of the labels.
    fn names() -> Vec<&'static str>;

    /// Returns all values, in the order of [`Label::index`].
    fn all() -> Vec<Self>;

    /// Returns the index of this value in [`Label::all`].
    fn index(self) -> usize;

    /// Returns the value's text for each of [`Label::names`].
    fn texts(self) -> Vec<&'static str>;
}

impl<A: Label, B: Label> Label for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn names() -> Vec<&'static str> {
        [A::names(), B::names()].concat()
    }

    fn all() -> Vec<Self> {
        A::all().into_iter().flat_map(|a| B::all().into_iter().map(move |b| (a, b))).collect()
    }

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn texts(self) -> Vec<&'static str> {
        [self.0.texts(), self.1.texts()].concat()
    }
}

/// A metric that can be registered under a name.
pub(super) trait Series: Sized {
    /// Makes and registers the metric. `buckets` are the upper bounds of a histogram's buckets, in ascending order; other kinds ignore
    /// them.
    fn register(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Self>;
}

/// A series of the kind `M` for each value of `L`.
#[derive(Debug)]
pub struct Family<L, M> {
    children: Vec<M>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M> Family<L, M> {
    /// Returns the series of a value.
    pub fn of(&self, label: L) -> &M {
        &self.children[label.index()]
    }

    /// Returns all values with their series.
    pub fn iter(&self) -> impl Iterator<Item = (L, &M)> {
        L::all().into_iter().zip(&self.children)
    }

    fn resolve(child: impl Fn(&[&str]) -> M) -> Self {
        Self { children: L::all().into_iter().map(|l| child(&l.texts())).collect(), label: PhantomData }
    }
}

impl Series for IntCounter {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        registered(registry, Self::new(name, help)?)
    }
}

impl Series for IntGauge {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        registered(registry, Self::new(name, help)?)
    }
}

impl Series for Gauge {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        registered(registry, Self::new(name, help)?)
    }
}

impl Series for Histogram {
    fn register(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Self> {
        registered(registry, Self::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }
}

impl<L: Label> Series for Family<L, IntCounter> {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        let family = registered(registry, IntCounterVec::new(Opts::new(name, help), &L::names())?)?;
        Ok(Self::resolve(|texts| family.with_label_values(texts)))
    }
}

impl<L: Label> Series for Family<L, IntGauge> {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        let family = registered(registry, IntGaugeVec::new(Opts::new(name, help), &L::names())?)?;
        Ok(Self::resolve(|texts| family.with_label_values(texts)))
    }
}

impl<L: Label> Series for Family<L, Gauge> {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        let family = registered(registry, GaugeVec::new(Opts::new(name, help), &L::names())?)?;
        Ok(Self::resolve(|texts| family.with_label_values(texts)))
    }
}

impl<L: Label> Series for Family<L, Histogram> {
    fn register(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Self> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let family = registered(registry, HistogramVec::new(options, &L::names())?)?;
        Ok(Self::resolve(|texts| family.with_label_values(texts)))
    }
}

/// A gauge for each assigned partition, so at most as many as the command topic has partitions. `P` is the type of its number.
#[derive(Debug)]
pub struct PerPartition<P: Atomic>(GenericGaugeVec<P>);

impl<P: Atomic> PerPartition<P> {
    /// Sets the gauge of a partition.
    pub fn set(&self, partition: i32, value: P::T) {
        self.0.with_label_values(&[partition.to_string()]).set(value);
    }

    /// Ends the series of a partition that is not assigned any more.
    pub fn forget(&self, partition: i32) {
        // An error means that there was no such series.
        let _ = self.0.remove_label_values(&[partition.to_string()]);
    }

    /// Ends the series of all partitions.
    pub fn forget_all(&self) {
        self.0.reset();
    }
}

impl<P: Atomic + 'static> Series for PerPartition<P> {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        registered(registry, GenericGaugeVec::new(Opts::new(name, help), &["partition"])?).map(Self)
    }
}

/// The most nodes that a [`PerNode`] tells apart. That is more than such databases usually have. A bound is needed because addresses come
/// and go, those of pods for example.
const MOST_NODES: usize = 64;
/// The label's value for all nodes beyond [`MOST_NODES`].
const OTHER_NODES: &str = "other";

/// A counter for each node of the database, by its address.
#[derive(Debug)]
pub struct PerNode {
    counters: IntCounterVec,
    known: Mutex<HashSet<String>>,
}

impl PerNode {
    /// Counts an event of a node.
    pub fn inc(&self, node: &str) {
        self.of(node).inc();
    }

    /// Begins the series of a node, at zero.
    pub fn know(&self, node: &str) {
        self.of(node);
    }

    fn of(&self, node: &str) -> IntCounter {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(node) {
            if known.len() >= MOST_NODES {
                return self.counters.with_label_values(&[OTHER_NODES]);
            }
            known.insert(node.to_owned());
        }
        self.counters.with_label_values(&[node])
    }
}

impl Series for PerNode {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        let counters = registered(registry, IntCounterVec::new(Opts::new(name, help), &["node"])?)?;
        Ok(Self { counters, known: Mutex::default() })
    }
}

/// A gauge that is always 1, with the program's version as a label.
#[derive(Debug)]
pub struct BuildInfo(());

impl Series for BuildInfo {
    fn register(registry: &Registry, name: &str, help: &str, _: &[f64]) -> Result<Self> {
        let options = Opts::new(name, help).const_label("version", env!("CARGO_PKG_VERSION"));
        registered(registry, IntGauge::with_opts(options)?)?.set(1);
        Ok(Self(()))
    }
}

/// Returns a count as the value of a gauge.
pub fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_beyond_the_bound_are_counted_together() {
        let registry = Registry::new();
        let faults = PerNode::register(&registry, "faults", "Faults.", &[]).unwrap();
        faults.know("quiet");
        for n in 0..MOST_NODES + 9 {
            faults.inc(&format!("n-{n}"));
        }
        faults.inc("n-0");
        assert_eq!(faults.counters.with_label_values(&["n-0"]).get(), 2);
        assert_eq!(faults.counters.with_label_values(&[OTHER_NODES]).get(), 10);
        let series: usize = registry.gather().iter().map(|family| family.get_metric().len()).sum();
        assert_eq!(series, MOST_NODES + 1);
    }
}
