//! The text format of Prometheus.

use std::fmt;

use super::{Metric, MetricKind, Metrics, Sample};

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.metrics.iter().filter(|metric| !metric.samples.is_empty()).try_for_each(|metric| write(f, metric))
    }
}

fn write(f: &mut fmt::Formatter<'_>, metric: &Metric) -> fmt::Result {
    let Metric { name, help, kind, samples } = metric;
    let kind = match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    writeln!(f, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"))?;
    writeln!(f, "# TYPE {name} {kind}")?;
    for sample in samples {
        match sample {
            Sample::Number { labels, value } => writeln!(f, "{name}{} {}", Labels(labels, None), Number(*value))?,
            Sample::Histogram { labels, buckets, sum, count } => {
                for (bound, below) in buckets {
                    writeln!(f, "{name}_bucket{} {below}", Labels(labels, Some(*bound)))?;
                }
                writeln!(f, "{name}_bucket{} {count}", Labels(labels, Some(f64::INFINITY)))?;
                writeln!(f, "{name}_sum{} {}", Labels(labels, None), Number(*sum))?;
                writeln!(f, "{name}_count{} {count}", Labels(labels, None))?;
            }
        }
    }
    Ok(())
}

struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number if number.is_nan() => f.write_str("NaN"),
            number if number.is_infinite() => f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" }),
            number => write!(f, "{number}"),
        }
    }
}

/// Labels, and the bound of a bucket.
struct Labels<'l>(&'l [(&'static str, String)], Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.1.map(|bound| ("le", Number(bound).to_string()));
        let all = self.0.iter().map(|(name, value)| (*name, value.as_str()));
        let all = all.chain(bound.as_ref().map(|(name, value)| (*name, value.as_str())));
        for (at, (name, value)) in all.enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{}{name}=\"{value}\"", if at == 0 { "{" } else { "," })?;
        }
        f.write_str(if self.0.is_empty() && self.1.is_none() { "" } else { "}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Contract: S4
    #[test]
    fn the_text_is_that_of_prometheus() {
        let labels = vec![("projection", "a\"b\\c\nd".to_owned())];
        let number = |value| Sample::Number { labels: labels.clone(), value };
        let histogram = Sample::Histogram { labels: Vec::new(), buckets: vec![(0.5, 1), (1.0, 3)], sum: 2.5, count: 4 };
        let metric = |name, kind, samples| Metric { name, help: "what it\\is", kind, samples };
        let metrics = Metrics {
            metrics: vec![
                metric("readside_a", MetricKind::Gauge, vec![number(0.25), number(f64::INFINITY)]),
                metric("readside_unknown", MetricKind::Gauge, Vec::new()),
                metric("readside_b_seconds", MetricKind::Histogram, vec![histogram]),
            ],
        };
        let expected = "# HELP readside_a what it\\\\is\n# TYPE readside_a gauge\n\
            readside_a{projection=\"a\\\"b\\\\c\\nd\"} 0.25\nreadside_a{projection=\"a\\\"b\\\\c\\nd\"} +Inf\n\
            # HELP readside_b_seconds what it\\\\is\n# TYPE readside_b_seconds histogram\n\
            readside_b_seconds_bucket{le=\"0.5\"} 1\nreadside_b_seconds_bucket{le=\"1\"} 3\n\
            readside_b_seconds_bucket{le=\"+Inf\"} 4\nreadside_b_seconds_sum 2.5\nreadside_b_seconds_count 4\n";
        assert_eq!(metrics.to_string(), expected);
        assert_eq!(metrics.number("readside_a", &[("projection", "a\"b\\c\nd")]), Some(0.25));
        assert_eq!(metrics.number("readside_a", &[("projection", "x")]), None);
    }
}
