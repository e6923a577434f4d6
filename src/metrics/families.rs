//! Families of metrics, and the catalogue of all there are.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{EncodeMetric, MetricEncoder, text},
    metrics::{
        MetricType, TypedMetric, counter::Counter, exemplar::HistogramWithExemplars, family::MetricConstructor,
        gauge::Gauge, histogram::Histogram,
    },
    registry::{Metric, Registry},
};

/// What a metric is, for those who read it.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name as Prometheus stores it, except for the suffixes that a histogram's series have.
    pub name: &'static str,
    /// counter, gauge or histogram.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, with the unit.
    pub help: &'static str,
}

/// All metrics of one operator, with what is needed to describe and to show them.
#[derive(Debug, Default)]
pub struct Catalogue {
    registry: Registry,
    entries: Vec<Entry>,
}

impl Catalogue {
    /// Everything there is, in the order in which it was added.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All values, as OpenMetrics text.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }

    /// Adds what is computed when it is asked for.
    pub fn add_collector(&mut self, entries: &[Entry], collector: impl Collector) {
        self.entries.extend(entries);
        self.registry.register_collector(Box::new(collector));
    }

    pub(super) fn single<M: TypedMetric + Metric + Clone + Default>(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> M {
        let metric = M::default();
        self.note::<M>(name, &[], help, metric.clone());
        metric
    }

    pub(super) fn counters<const N: usize>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str; N],
        help: &'static str,
    ) -> Counters<N> {
        self.family(name, labels, help, &[])
    }

    pub(super) fn gauges<const N: usize>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str; N],
        help: &'static str,
    ) -> Gauges<N> {
        self.family(name, labels, help, &[])
    }

    pub(super) fn histograms<const N: usize>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str; N],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Histograms<N> {
        self.family(name, labels, help, buckets)
    }

    pub(super) fn exemplary<const N: usize>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str; N],
        buckets: &'static [f64],
        help: &'static str,
    ) -> Exemplary<N> {
        self.family(name, labels, help, buckets)
    }

    fn family<M, const N: usize>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str; N],
        help: &'static str,
        buckets: &'static [f64],
    ) -> Labelled<M, N>
    where
        Labelled<M, N>: Metric + Clone,
        M: TypedMetric,
    {
        let family = Labelled { labels, buckets: Make(buckets), series: Arc::default() };
        self.note::<M>(name, labels, help, family.clone());
        family
    }

    fn note<M: TypedMetric>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        metric: impl Metric,
    ) {
        let kind = match M::TYPE {
            MetricType::Counter => "counter",
            MetricType::Histogram => "histogram",
            _ => "gauge",
        };
        // The library adds the suffix that every counter has.
        self.registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric);
        self.entries.push(Entry { name, kind, labels, help });
    }
}

/// Makes the members of a family; the buckets are a histogram's.
#[derive(Clone, Debug)]
pub struct Make(&'static [f64]);

impl MetricConstructor<Counter> for Make {
    fn new_metric(&self) -> Counter {
        Counter::default()
    }
}

impl MetricConstructor<Gauge> for Make {
    fn new_metric(&self) -> Gauge {
        Gauge::default()
    }
}

impl MetricConstructor<Histogram> for Make {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl MetricConstructor<HistogramWithExemplars<Exemplar>> for Make {
    fn new_metric(&self) -> HistogramWithExemplars<Exemplar> {
        HistogramWithExemplars::new(self.0.iter().copied())
    }
}

/// Metrics that differ in `N` labels.
#[derive(Clone, Debug)]
pub struct Labelled<M, const N: usize> {
    labels: &'static [&'static str; N],
    buckets: Make,
    series: Arc<Mutex<BTreeMap<[String; N], M>>>,
}

/// Counters with `N` labels.
pub type Counters<const N: usize> = Labelled<Counter, N>;
/// Gauges with `N` labels.
pub type Gauges<const N: usize> = Labelled<Gauge, N>;
/// Histograms with `N` labels.
pub type Histograms<const N: usize> = Labelled<Histogram, N>;
/// Histograms with `N` labels, each bucket of which can name one that is in it.
pub type Exemplary<const N: usize> = Labelled<HistogramWithExemplars<Exemplar>, N>;
/// What names one.
pub type Exemplar = [(&'static str, String); 1];

impl<M: Clone, const N: usize> Labelled<M, N>
where
    Make: MetricConstructor<M>,
{
    /// The one with these values, in the order of the labels. Values must be few: no name of a Sandbox, a Task or a pod.
    pub fn with(&self, values: [&str; N]) -> M {
        self.series().entry(values.map(str::to_owned)).or_insert_with(|| self.buckets.new_metric()).clone()
    }
}

impl<M, const N: usize> Labelled<M, N> {
    /// What has these values in its first labels is no more, and neither are its series.
    pub fn forget(&self, values: &[&str]) {
        self.series().retain(|of, _| !of.iter().zip(values).all(|(of, value)| of == value));
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<[String; N], M>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: EncodeMetric + TypedMetric, const N: usize> EncodeMetric for Labelled<M, N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (values, metric) in &*self.series() {
            let labels: Vec<_> = self.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        self.series().is_empty()
    }
}
