//! Quantization errors during a training: metrics, JSON lines, an HTML page.

use std::{
    fs,
    sync::{Arc, Mutex},
};

use bitnet_burn::{
    monitor::{ErrorHistory, HistoryError, HtmlReport},
    qat::QuantControls,
    train::{
        QuantizationErrorMetric, SilentRenderer,
        callback::{Callback, CallbackResult, ErrorMonitor, TrainingRun},
        checkpoint::{CheckpointPolicy, Resume},
    },
};
use burn::train::{
    Learner, LearningResult, SupervisedTraining, metric::LossMetric, metric::store::Split,
};

use crate::support::training::{BATCHES, Folder, Net, Run, loader, strategy};

fn monitored(folder: &Folder, resume: Resume, epochs: usize) -> ErrorHistory {
    let run = Run {
        epochs,
        ..Run::new(&folder.0)
    };
    let learner = run.learner();
    let monitor = ErrorMonitor::new(QuantControls::of(&learner.model()))
        .every(3)
        .with_html(folder.0.join("report.html"), "a <b>run</b>")
        .with_json(folder.0.join("errors.jsonl"));
    let history = monitor.history();
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).resume(resume);
    let strategy = strategy().with_callback(monitor).with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    history.get()
}

#[test]
fn a_training_is_measured_every_so_many_steps_and_goes_on_after_a_break() {
    let whole = Folder::new("monitor");
    let expected = monitored(&whole, Resume::Never, 3);
    let steps = |history: &ErrorHistory| -> Vec<usize> {
        history.reports.iter().map(|report| report.step).collect()
    };
    assert_eq!(steps(&expected), [0, 3, 6, 9, 12, 15, 18]);
    for report in &expected.reports {
        let paths: Vec<&str> = report
            .layers
            .iter()
            .map(|layer| layer.path.as_str())
            .collect();
        let layers = [
            "first.weight_quant",
            "first.input_quant",
            "second.weight_quant",
            "second.input_quant",
        ];
        assert_eq!(paths, layers);
        assert!(report.weights().all(|layer| layer.sqnr_db.unwrap() > 0.0));
        assert!(
            report
                .activations()
                .all(|layer| layer.sqnr_db.unwrap() > 30.0)
        );
        let first = report.step == 0;
        assert!(
            report
                .weights()
                .all(|layer| layer.flip_rate.is_none() == first)
        );
    }
    assert!(
        expected
            .reports
            .iter()
            .flat_map(|report| report.weights())
            .any(|l| l.flip_rate > Some(0.0))
    );
    assert_eq!(
        ErrorHistory::load(whole.0.join("errors.jsonl")).unwrap(),
        expected
    );

    let broken = Folder::new("monitor");
    monitored(&broken, Resume::Never, 1);
    let resumed = monitored(&broken, Resume::Latest, 3);
    assert_eq!(steps(&resumed), steps(&expected));
}

#[test]
fn the_page_holds_all_drawings_and_escapes_what_it_shows() {
    let folder = Folder::new("monitor");
    let history = monitored(&folder, Resume::Never, 2);
    let html = fs::read_to_string(folder.0.join("report.html")).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
    assert!(html.contains("a &lt;b&gt;run&lt;/b&gt;") && !html.contains("<b>"));
    for part in [
        "<h2>Loss</h2>",
        "Signal to quantization noise of weights",
        "SQNR by layer, weights",
        "SQNR by layer, activations",
        "Fraction of codes changed",
        "latent weights",
        "second.input_quant",
        ">training</text>",
        ">validation</text>",
        "checkpoint: step 7 is saved",
    ] {
        assert!(html.contains(part), "{part}");
    }
    for forbidden in ["http://", "https://", "<script", "src=", "NaN", "inf"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    // Every opened element is closed.
    for element in ["svg", "text", "table", "tr", "td", "h2", "ul", "li"] {
        let opened = html.matches(&format!("<{element} ")).count()
            + html.matches(&format!("<{element}>")).count();
        assert_eq!(
            opened,
            html.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }

    let page = HtmlReport::new("x", &history)
        .with_sensitivity(vec![("</svg><script>".to_string(), 0.25)])
        .to_html();
    assert!(page.contains("&lt;/svg&gt;&lt;script&gt;") && !page.contains("<script"));
}

#[test]
fn the_page_keeps_its_events_over_a_break() {
    let folder = Folder::new("monitor-events");
    monitored(&folder, Resume::Never, 2);
    monitored(&folder, Resume::Latest, 3);
    let html = fs::read_to_string(folder.0.join("report.html")).unwrap();
    for event in [
        "step 7 is saved",
        "going on after step 14",
        "step 21 is saved",
    ] {
        assert_eq!(html.matches(event).count(), 1, "{event}");
    }
}

#[test]
fn a_line_that_is_no_report_is_named() {
    let folder = Folder::new("monitor");
    let path = folder.0.join("errors.jsonl");
    fs::write(&path, "{\"step\":1,\"layers\":[]}\n{\"step\":\n").unwrap();
    let error = ErrorHistory::load(&path).unwrap_err();
    assert!(
        matches!(error, HistoryError::Line { line: 2, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("errors.jsonl, line 2: "),
        "{error}"
    );
}

#[test]
fn the_metrics_show_the_newest_report_to_the_learner() {
    let folder = Folder::new("monitor");
    let run = Run::new(&folder.0);
    let learner: Learner<Net> = run.learner();
    let monitor = ErrorMonitor::new(QuantControls::of(&learner.model())).every(BATCHES);
    let history = monitor.history();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let result: LearningResult<Net> =
        SupervisedTraining::new(run.folder, loader(1, true), loader(2, false))
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(LossMetric::new())
            .metric_train_numeric(QuantizationErrorMetric::weight_sqnr(&history))
            .metric_train_numeric(QuantizationErrorMetric::activation_sqnr(&history))
            .metric_train_numeric(
                QuantizationErrorMetric::zero_fraction(&history).of("second.weight_quant"),
            )
            .with_training_strategy(
                strategy()
                    .with_callback(monitor)
                    .with_callback(Metrics(seen.clone()))
                    .into(),
            )
            .with_application_logger(None)
            .renderer(Box::new(SilentRenderer))
            .num_epochs(2)
            .launch(learner);
    assert!(result.error.is_none());
    let reports = history.get().reports;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    for (epoch, values) in seen.iter().enumerate() {
        // One report at the first batch of the epoch, valid for all of its batches.
        let report = &reports[epoch];
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let weights = mean(
            report
                .weights()
                .map(|layer| layer.sqnr_db.unwrap())
                .collect(),
        );
        let inputs = mean(
            report
                .activations()
                .map(|layer| layer.sqnr_db.unwrap())
                .collect(),
        );
        let zeros = report.layer("second.weight_quant").unwrap().zero_fraction;
        for (value, expected) in values.iter().zip([weights, inputs, zeros]) {
            let value = value.unwrap();
            assert!(
                (value - expected).abs() < 1e-4 * expected.abs(),
                "{value}, expected {expected}"
            );
        }
    }
}

/// Reads the metrics of each epoch.
struct Metrics(Arc<Mutex<Vec<[Option<f64>; 3]>>>);

impl Callback<Net> for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        let names = [
            "Weight SQNR",
            "Activation SQNR",
            "Zero weights second.weight_quant",
        ];
        let values = names.map(|name| run.metric(name, Split::Train));
        self.0.lock().unwrap().push(values);
        Ok(())
    }
}
