use std::ops::Range;

use minijinja::{Environment, ErrorKind, Value, context, syntax::SyntaxConfig, value::Serde};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::ChatMessage;
use crate::text::TextError;

/// Name of the template in its environment.
const NAME: &str = "chat";

/// Writes a conversation as the text that a chat model is trained on: the Jinja template of
/// transformers' `apply_chat_template`, with its settings.
///
/// A template sees `messages`, `add_generation_prompt`, `bos_token`, `eos_token` and
/// `raise_exception`; `tools` and `documents` are none. There is no `strftime_now`: a training text
/// does not depend on the day, and templates that ask whether there is one have a fixed date. Marks of
/// what is generated (`{% generation %}`) are passed over.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::{ChatMessage, ChatTemplate};
///
/// let template = ChatTemplate::new(
///     "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}\
///      {% if add_generation_prompt %}<assistant>{% endif %}",
/// )?;
/// let messages = [ChatMessage::user("2 + 2?"), ChatMessage::assistant("4")];
/// assert_eq!(template.render(&messages[..1], true)?, "<user>2 + 2?\n<assistant>");
///
/// let chat = template.render_with_spans(&messages)?;
/// assert_eq!(&chat.text[chat.assistant[0].clone()], "4\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

/// A conversation as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text.
    pub text: String,
    /// The bytes of the text that the assistant says, one range for each of its turns: what the
    /// template writes behind the prompt of a turn, its end among it.
    pub assistant: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// A template with its Jinja source. Without special tokens, `bos_token` and `eos_token` are
    /// empty.
    ///
    /// # Errors
    ///
    /// If the source is no Jinja.
    pub fn new(source: &str) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        // As transformers: lines of blocks leave no lines behind.
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(TextError::template)?);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        let source = without_generation_marks(source);
        (environment.add_template_owned(NAME, source)).map_err(TextError::template)?;
        Ok(Self {
            environment,
            bos_token: String::new(),
            eos_token: String::new(),
        })
    }

    /// Sets the texts of the tokens that begin and end a text.
    pub fn with_special_tokens(
        mut self,
        bos_token: impl Into<String>,
        eos_token: impl Into<String>,
    ) -> Self {
        self.bos_token = bos_token.into();
        self.eos_token = eos_token.into();
        self
    }

    /// The text of a conversation; with a generation prompt up to where the assistant's next turn
    /// begins.
    ///
    /// # Errors
    ///
    /// If the template does not take the messages.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        let template = self.environment.get_template(NAME);
        let template = template.map_err(TextError::template)?;
        let context = context! {
            messages => Value::from(Serde(messages)),
            add_generation_prompt => add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => self.bos_token.as_str(),
            eos_token => self.eos_token.as_str(),
        };
        template.render(context).map_err(TextError::template)
    }

    /// The text of a conversation, and which part of it the assistant says: of each of its turns,
    /// what the text up to there has more than the text before with a generation prompt.
    ///
    /// # Errors
    ///
    /// If the template does not take the messages, or writes earlier turns in another way once there
    /// are more: some leave out what the assistant thought ([`TextError::NoPrefix`]).
    pub fn render_with_spans(&self, messages: &[ChatMessage]) -> Result<RenderedChat, TextError> {
        let text = self.render(messages, false)?;
        let mut assistant = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            if message.role != ChatMessage::ASSISTANT {
                continue;
            }
            let before = self.render(&messages[..i], true)?;
            let with = self.render(&messages[..=i], false)?;
            if !with.starts_with(&before) || !text.starts_with(&with) {
                return Err(TextError::NoPrefix { message: i });
            }
            assistant.push(before.len()..with.len());
        }
        Ok(RenderedChat { text, assistant })
    }
}

/// The function by which templates refuse messages.
fn raise_exception(message: String) -> Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Blocks that transformers adds to Jinja, as blocks that are in it and do nothing.
fn without_generation_marks(source: &str) -> String {
    let mut parts = source.split("{%");
    let mut result = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let name = part.trim_start_matches(['-', '+']).trim_start();
        let before = &part[..part.len() - name.len()];
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = name.find(|c| !word(c)).unwrap_or(name.len());
        let (name, rest) = name.split_at(end);
        let name = match name {
            "generation" => "if true",
            "endgeneration" => "endif",
            other => other,
        };
        result.extend(["{%", before, name, rest]);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many chat models have it.
    const CHAT_ML: &str = "{%- if messages[0]['role'] == 'system' %}\n    \
        {{- '<|im_start|>system\\n' + messages[0]['content'].strip() + '<|im_end|>\\n' }}\n\
        {%- endif %}\n\
        {%- for message in messages %}\n    \
        {%- if message['role'] != 'system' %}\n        \
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\n    \
        {%- endif %}\n\
        {%- endfor %}\n\
        {%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}";

    fn messages() -> Vec<ChatMessage> {
        vec![
            ChatMessage::system(" short "),
            ChatMessage::user("hi"),
            ChatMessage::assistant("hello"),
            ChatMessage::user("<b>?"),
            ChatMessage::assistant("yes"),
        ]
    }

    #[test]
    fn a_template_writes_messages_as_transformers_does() {
        let template = ChatTemplate::new(CHAT_ML).unwrap();
        assert_eq!(
            template.render(&messages()[..4], true).unwrap(),
            "<|im_start|>system\nshort<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n\
             <|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\n<b>?<|im_end|>\n\
             <|im_start|>assistant\n"
        );
    }

    #[test]
    fn a_template_with_filters_and_assignments_is_read() {
        // In the way of BitNet b1.58 2B4T.
        let source = "{% for message in messages %}{% set content = message['role'] | capitalize \
                      + ': ' + message['content'] | trim + '<|eot_id|>' %}\
                      {% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}\
                      {{ content }}{% endfor %}\
                      {% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";
        let template = ChatTemplate::new(source).unwrap();
        let template = template.with_special_tokens("<s>", "</s>");
        assert_eq!(
            template.render(&messages()[..2], true).unwrap(),
            "<s>System: short<|eot_id|>User: hi<|eot_id|>Assistant: "
        );
        let chat = template.render_with_spans(&messages()).unwrap();
        assert_eq!(&chat.text[chat.assistant[1].clone()], "yes<|eot_id|>");
    }

    #[test]
    fn what_transformers_adds_to_jinja_is_read() {
        let source = "{%- for m in messages -%}{% if m.role == 'user' %}{% continue %}{% endif %}\
                      {%- generation -%}{{ m.content }};{%- endgeneration -%}{%- endfor -%}\
                      {% if tools is not none or documents is not none %}tools{% endif %}\
                      {% if strftime_now is defined %}date{% endif %}";
        let template = ChatTemplate::new(source).unwrap();
        let text = template.render(&messages(), false).unwrap();
        assert_eq!(text, " short ;hello;yes;");
    }

    #[test]
    fn spans_are_what_the_assistant_says() {
        let template = ChatTemplate::new(CHAT_ML).unwrap();
        let chat = template.render_with_spans(&messages()).unwrap();
        let said: Vec<&str> = (chat.assistant.iter())
            .map(|span| &chat.text[span.clone()])
            .collect();
        assert_eq!(said, ["hello<|im_end|>\n", "yes<|im_end|>\n"]);
    }

    #[test]
    fn a_template_that_changes_the_past_has_no_spans() {
        let source = "{{ bos_token }}{% for m in messages %}[{{ m.role[0] }}]\
                      {{ m.content if loop.last else '...' }}{% endfor %}\
                      {% if add_generation_prompt %}[a]{% endif %}";
        let template = ChatTemplate::new(source)
            .unwrap()
            .with_special_tokens("<s>", "");
        assert_eq!(
            template.render(&messages()[1..2], false).unwrap(),
            "<s>[u]hi"
        );
        let error = template.render_with_spans(&messages()).unwrap_err();
        assert!(
            matches!(error, TextError::NoPrefix { message: 2 }),
            "{error}"
        );
    }

    #[test]
    fn a_template_can_refuse_messages() {
        let source =
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}";
        let error = ChatTemplate::new(source)
            .unwrap()
            .render(&messages(), false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no system"), "{error}");
    }

    #[test]
    fn broken_jinja_is_an_error() {
        let error = ChatTemplate::new("{% for m in %}").unwrap_err().to_string();
        assert!(
            error.starts_with("the chat template: syntax error"),
            "{error}"
        );
    }
}
