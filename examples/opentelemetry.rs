//! Makes spans of OpenTelemetry from an observer: "apply" for each batch, linked to the spans that pushed its events.
//!
//! `cargo run --example opentelemetry` pushes two events within a span, prints the spans that were exported, and ends. The
//! exporter is called where a span ends, on the thread of the observer: neither it nor the engine needs a runtime.

use std::error::Error;
use std::future::{Future, ready};
use std::time::Duration;

use opentelemetry::trace::{
    Link, Span, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use readside::observe::Observation;
use readside::prelude::*;
use readside::{Engine, EngineConfig, NewEvent, SqliteStore};

/// A line for each span; a service has an exporter for its collector here.
#[derive(Debug)]
struct Lines;

impl SpanExporter for Lines {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        for span in batch {
            let links: Vec<String> = span.links.iter().map(|link| link.span_context.span_id().to_string()).collect();
            println!("{} {} links to {links:?}, {:?}", span.name, span.span_context.span_id(), span.status);
        }
        ready(Ok(()))
    }
}

/// In the form of the W3C, as it goes into an event's metadata.
fn traceparent(of: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags().to_u8())
}

/// The span that such a text names.
fn span_context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-').skip(1);
    let (trace, span) = (TraceId::from_hex(parts.next()?).ok()?, SpanId::from_hex(parts.next()?).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

fn span(tracer: &SdkTracer, seen: &Observation) {
    match seen {
        Observation::Applied(batch) => {
            let links = batch.traces.iter().filter_map(|trace| Some(Link::with_context(span_context(trace)?)));
            let begun = batch.at.checked_sub(batch.writing).unwrap_or(batch.at);
            let builder = tracer
                .span_builder("apply")
                .with_kind(SpanKind::Consumer)
                .with_start_time(begun)
                .with_links(links.collect())
                .with_attributes([
                    KeyValue::new("readside.projection", batch.projection.to_string()),
                    KeyValue::new("readside.events", i64::try_from(batch.events).unwrap_or(i64::MAX)),
                ]);
            tracer.build_with_context(builder, &Context::new()).end_with_timestamp(batch.at);
        }
        Observation::Failed(failed) => {
            let links = failed.trace.as_deref().and_then(span_context).map(Link::with_context);
            let builder = tracer
                .span_builder("fail")
                .with_kind(SpanKind::Consumer)
                .with_start_time(failed.at)
                .with_links(links.into_iter().collect())
                .with_attributes([
                    KeyValue::new("readside.projection", failed.projection.to_string()),
                    KeyValue::new("readside.position", failed.position),
                ]);
            let mut span = tracer.build_with_context(builder, &Context::new());
            span.set_status(Status::error(failed.error.clone()));
            span.end_with_timestamp(failed.at);
        }
        _ => {}
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let provider = SdkTracerProvider::builder().with_simple_exporter(Lines).build();
    let tracer = provider.tracer("readside");
    let logins = Projection::new("logins", 1)
        .table(Table::new("logins").column(text("user")).primary_key(["user"]))
        .on_raw("user", "user.logged_in", |e| create([set("user", e.aggregate_id())]));
    let engine = Engine::builder(SqliteStore::in_memory()?)
        .projection(logins)
        .config(EngineConfig::default().observed_traces(16))
        .observer({
            let tracer = tracer.clone();
            move |seen| span(&tracer, seen)
        })
        .start()?;

    let mut push = tracer.start("push");
    let trace = traceparent(push.span_context());
    let login = |user| NewEvent::raw("acme", "user", user, "user.logged_in").metadata("traceparent", &trace);
    let pushed = engine.push(&[login("ada"), login("bob")])?;
    push.end();

    engine.await_pushed("logins", &pushed, Duration::from_secs(30))?;
    // The observer hears what waits for it; then nothing more is exported.
    engine.shutdown(Duration::from_secs(30))?;
    provider.shutdown()?;
    Ok(())
}
