//! What was measured, by workload and contestant.

use crate::{
    contestant::Who,
    stats::{Series, number},
};

/// All that was measured, in the order in which it was.
#[derive(Debug, Default)]
pub struct Results {
    /// Each with its workload and its contestant.
    pub series: Vec<(String, Who, Series)>,
    /// The size of the file that was copied.
    pub file_bytes: Option<usize>,
    /// Sentences for below the table.
    pub notes: Vec<String>,
    /// What the operator's memory grew by in the bursts, when so many Sandboxes had a stream each.
    pub grown: Option<Grown>,
}

/// A growth of the operator's resident memory.
#[derive(Clone, Copy, Debug)]
pub struct Grown {
    /// With so many Sandboxes more.
    pub sandboxes: usize,
    /// By so much, in MB.
    pub mb: f64,
}

impl Grown {
    /// For each of them, in KB.
    pub fn kb_each(self) -> f64 {
        self.mb * 1024.0 / number(self.sandboxes.max(1))
    }
}

impl Results {
    /// The series of a workload and a contestant, empty at first.
    pub fn series(&mut self, workload: &str, who: Who) -> &mut Series {
        let found = self.series.iter().position(|(w, by, _)| w == workload && *by == who);
        let at = found.unwrap_or_else(|| {
            self.series.push((workload.to_owned(), who, Series::default()));
            self.series.len() - 1
        });
        &mut self.series[at].2
    }

    /// The series of a workload and a contestant, where it was measured.
    pub fn find(&self, workload: &str, who: Who) -> Option<&Series> {
        self.series.iter().find(|(w, by, _)| w == workload && *by == who).map(|(.., series)| series)
    }

    /// Workloads in order, each with who took part, the floor first.
    pub fn grouped(&self) -> Vec<(&str, Vec<(Who, &Series)>)> {
        let mut groups: Vec<(&str, Vec<(Who, &Series)>)> = Vec::new();
        for (workload, ..) in &self.series {
            if groups.iter().all(|(known, _)| known != workload) {
                let series = Who::ALL.into_iter().filter_map(|who| Some((who, self.find(workload, who)?)));
                groups.push((workload, series.collect()));
            }
        }
        groups
    }
}
