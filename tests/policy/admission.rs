//! Evaluates an admission policy as Kubernetes does: variables first, in their order, and then the validations.

use std::collections::HashMap;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, Program, Value};
use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    match_conditions: Vec<Expression>,
    variables: Vec<Expression>,
    validations: Vec<Validation>,
}

#[derive(Deserialize)]
struct Expression {
    name: String,
    expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validation {
    expression: String,
    message: Option<String>,
    message_expression: Option<String>,
}

/// A compiled policy.
pub(crate) struct Policy {
    conditions: Vec<Program>,
    variables: Vec<(String, Program)>,
    validations: Vec<(Program, Message)>,
}

enum Message {
    Fixed(String),
    Computed(Program),
}

fn compile(text: &str) -> Program {
    Program::compile(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

impl Policy {
    pub(crate) fn read(yaml: &str) -> Self {
        let Spec { match_conditions, variables, validations } =
            serde_saphyr::from_str::<Manifest>(yaml).expect("the policy is YAML").spec;
        let message = |validation: &Validation| match (&validation.message, &validation.message_expression) {
            (Some(text), None) => Message::Fixed(text.clone()),
            (None, Some(expression)) => Message::Computed(compile(expression)),
            _ => panic!("one message: {}", validation.expression),
        };
        Self {
            conditions: match_conditions.iter().map(|condition| compile(&condition.expression)).collect(),
            variables: variables.iter().map(|v| (v.name.clone(), compile(&v.expression))).collect(),
            validations: validations.iter().map(|v| (compile(&v.expression), message(v))).collect(),
        }
    }

    /// Returns the messages of the validations that an object fails. `old` is the object that it replaces, if it replaces one.
    pub(crate) fn complaints(&self, object: &Json, old: Option<&Json>) -> Vec<String> {
        let mut context = Context::default();
        context.add_function("trim", |This(text): This<Arc<String>>| text.trim().to_owned());
        context.add_function("join", |This(list): This<Arc<Vec<Value>>>, between: Arc<String>| {
            let texts = list.iter().map(|value| match value {
                Value::String(text) => text.to_string(),
                other => panic!("no text: {other:?}"),
            });
            texts.collect::<Vec<_>>().join(&between)
        });
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        context.add_variable_from_value("request", HashMap::from([("operation", operation)]));
        context.add_variable("object", object).expect("JSON is a value");
        context.add_variable("oldObject", old).expect("JSON is a value");
        let value = |program: &Program, context: &Context<'_>| {
            program.execute(context).unwrap_or_else(|error| panic!("{object}\n{program:?}\n{error}"))
        };
        if self.conditions.iter().any(|condition| value(condition, &context) != Value::Bool(true)) {
            return Vec::new();
        }
        let mut variables: HashMap<String, Value> = HashMap::new();
        context.add_variable_from_value("variables", variables.clone());
        for (name, program) in &self.variables {
            variables.insert(name.clone(), value(program, &context));
            context.add_variable_from_value("variables", variables.clone());
        }
        let broken = self.validations.iter().filter(|(rule, _)| value(rule, &context) != Value::Bool(true));
        let messages = broken.map(|(_, message)| match message {
            Message::Fixed(text) => text.clone(),
            Message::Computed(program) => match value(program, &context) {
                Value::String(text) => text.to_string(),
                other => panic!("no text: {other:?}"),
            },
        });
        messages.collect()
    }
}
