use std::{borrow::Cow, collections::HashSet, time::SystemTime};

use minijinja::{Environment, Value};

use super::{
    ChatMessage, Conversation, RenderedChat,
    environment::{environment, set_now},
    generation_marks::{self, MARKED},
};
use crate::text::TextError;

/// Name of the default template if there are several.
pub(super) const DEFAULT: &str = "default";
/// Name of the template for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// Renders a conversation as the text that a chat model is trained on: the Jinja template of
/// transformers' `apply_chat_template`, with its settings.
///
/// The inputs of a template are `messages`, `tools`, `documents`, `add_generation_prompt`, the special
/// tokens of the tokenizer (`bos_token`, `eos_token`, `unk_token`, `sep_token`, `pad_token`, `cls_token`,
/// `mask_token`) and the [variables](Conversation::with_variable) of the conversation. It may call
/// `raise_exception`, and `strftime_now`, which returns the current time in UTC unless it is
/// [set](Self::with_now). `tojson` is Python's `json.dumps`; values print as in Python.
///
/// Jinja filters that chat templates do not use, such as `wordcount`, and `%` between a text and values
/// are errors. An attribute with the name of a method that is not called, such as `schema.items`, is the
/// item of that name.
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
    sources: Vec<Source>,
    /// Name of the template used for every conversation.
    chosen: Option<String>,
    special_tokens: Vec<(Cow<'static, str>, String)>,
}

/// One of the templates of a model.
#[derive(Debug, Clone)]
struct Source {
    name: String,
    text: String,
    marks_generation: bool,
    /// Names of the variables that it reads.
    variables: HashSet<String>,
}

impl ChatTemplate {
    /// Creates a template from its Jinja source, without special tokens.
    ///
    /// # Errors
    ///
    /// If the source is not valid Jinja.
    pub fn new(source: &str) -> Result<Self, TextError> {
        Self::empty()?.with_named(DEFAULT, source)
    }

    /// Creates a set without templates.
    pub(super) fn empty() -> Result<Self, TextError> {
        Ok(Self {
            environment: environment()?,
            sources: Vec::new(),
            chosen: None,
            special_tokens: Vec::new(),
        })
    }

    /// Adds a named template. As in transformers, `tool_use` is used for conversations with tools and
    /// `default` for others.
    ///
    /// # Errors
    ///
    /// If the source is not valid Jinja.
    pub fn with_named(mut self, name: &str, source: &str) -> Result<Self, TextError> {
        // Line ends as Jinja reads them.
        let unix = source.replace("\r\n", "\n").replace('\r', "\n");
        // The engine would divide by zero.
        if unix
            .split_whitespace()
            .collect::<String>()
            .contains(".cycle()")
        {
            return Err(TextError::template("`cycle` has nothing to choose from"));
        }
        let (jinja, marks_generation) = generation_marks::as_call_blocks(&unix);
        let added = self.environment.add_template_owned(name.to_string(), jinja);
        added.map_err(TextError::template)?;
        self.sources.retain(|known| known.name != name);
        let template = self.environment.get_template(name);
        let template = template.map_err(TextError::template)?;
        self.sources.push(Source {
            name: name.to_string(),
            text: source.to_string(),
            marks_generation,
            variables: template.undeclared_variables(false),
        });
        Ok(self)
    }

    /// Selects a named template for every conversation.
    pub(super) fn choosing(mut self, name: &str) -> Self {
        self.chosen = Some(name.to_string());
        self
    }

    /// Sets the texts of the tokens that begin and end a text.
    #[must_use]
    pub fn with_special_tokens(
        self,
        bos_token: impl Into<String>,
        eos_token: impl Into<String>,
    ) -> Self {
        self.with_special_token("bos_token", bos_token)
            .with_special_token("eos_token", eos_token)
    }

    /// Sets the text of a special token, such as `unk_token`. A token that is not set is undefined.
    #[must_use]
    pub fn with_special_token(
        mut self,
        name: impl Into<Cow<'static, str>>,
        token: impl Into<String>,
    ) -> Self {
        let name = name.into();
        self.special_tokens.retain(|(known, _)| *known != name);
        self.special_tokens.push((name, token.into()));
        self
    }

    /// Sets the time of `strftime_now`, for texts that do not depend on the date.
    #[must_use]
    pub fn with_now(mut self, now: SystemTime) -> Self {
        set_now(&mut self.environment, Some(now));
        self
    }

    /// Returns the names and Jinja sources of the templates.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources
            .iter()
            .map(|source| (source.name.as_str(), source.text.as_str()))
    }

    /// Renders messages. A generation prompt ends the text where the assistant's next turn begins.
    ///
    /// # Errors
    ///
    /// If the template rejects the messages.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.render_conversation(&messages.into(), add_generation_prompt)
    }

    /// Renders a conversation with tools, documents or variables.
    ///
    /// # Errors
    ///
    /// If the template rejects the conversation, or there are several templates and none for it.
    pub fn render_conversation(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, TextError> {
        self.write(
            self.source_for(conversation)?,
            conversation,
            add_generation_prompt,
            false,
        )
    }

    /// Renders messages and returns the byte ranges of the assistant's text.
    ///
    /// # Errors
    ///
    /// As [`render_conversation_with_spans`](Self::render_conversation_with_spans).
    pub fn render_with_spans(&self, messages: &[ChatMessage]) -> Result<RenderedChat, TextError> {
        self.render_conversation_with_spans(&messages.into())
    }

    /// Renders a conversation with tools, documents or variables, and returns the byte ranges of the
    /// assistant's text: the `{% generation %}` blocks, or for each assistant turn the difference between
    /// the text up to this turn and the text before it with a generation prompt.
    ///
    /// # Errors
    ///
    /// If the template rejects the conversation; if it has no such blocks and renders earlier turns
    /// differently in a longer conversation, as templates that drop the reasoning of earlier turns do
    /// ([`TextError::NoPrefix`]).
    pub fn render_conversation_with_spans(
        &self,
        conversation: &Conversation,
    ) -> Result<RenderedChat, TextError> {
        let source = self.source_for(conversation)?;
        if !source.marks_generation {
            return self.turn_spans(conversation);
        }
        let marked = self.write(source, conversation, false, true)?;
        generation_marks::without_marks(&marked).ok_or_else(|| {
            TextError::template(
                "its generation blocks are inside each other, or a message has U+FDD0 or U+FDD1",
            )
        })
    }

    /// Returns the text with one range per assistant turn.
    pub(in crate::text) fn turn_spans(
        &self,
        conversation: &Conversation,
    ) -> Result<RenderedChat, TextError> {
        let text = self.render_conversation(conversation, false)?;
        let mut assistant = Vec::new();
        for (i, message) in conversation.messages.iter().enumerate() {
            if message.role() != ChatMessage::ASSISTANT {
                continue;
            }
            let before = self.render_conversation(&conversation.first(i), true)?;
            let with = self.render_conversation(&conversation.first(i + 1), false)?;
            if !with.starts_with(&before) || !text.starts_with(&with) {
                return Err(TextError::NoPrefix { message: i });
            }
            assistant.push(before.len()..with.len());
        }
        Ok(RenderedChat { text, assistant })
    }

    /// Returns whether the template for a conversation reads a variable of this name.
    pub(super) fn reads(&self, conversation: &Conversation, name: &str) -> Result<bool, TextError> {
        Ok(self.source_for(conversation)?.variables.contains(name))
    }

    /// Returns the template that transformers would select.
    fn source_for(&self, conversation: &Conversation) -> Result<&Source, TextError> {
        let named = |name: &str| self.sources.iter().find(|source| source.name == name);
        let found = match &self.chosen {
            Some(name) => named(name),
            None => {
                let for_tools = conversation.tools.as_ref().and_then(|_| named(TOOL_USE));
                for_tools.or_else(|| named(DEFAULT))
            }
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = self.sources().map(|(name, _)| name).collect();
            TextError::template(format!("expected one called {DEFAULT:?}, found {names:?}"))
        })
    }

    fn write(
        &self,
        source: &Source,
        conversation: &Conversation,
        add_generation_prompt: bool,
        marked: bool,
    ) -> Result<String, TextError> {
        let template = self.environment.get_template(&source.name);
        let template = template.map_err(TextError::template)?;
        let messages = conversation.messages.iter().map(ChatMessage::for_template);
        let none = || Value::from(());
        let mut variables: Vec<(String, Value)> = (self.special_tokens.iter())
            .map(|(name, token)| (name.to_string(), Value::from(token.as_str())))
            .collect();
        variables.extend(conversation.variables.iter().cloned());
        for (name, value) in [
            ("messages", messages.collect()),
            ("tools", conversation.tools.clone().unwrap_or_else(none)),
            (
                "documents",
                conversation.documents.clone().unwrap_or_else(none),
            ),
            ("add_generation_prompt", add_generation_prompt.into()),
            (MARKED, marked.into()),
        ] {
            variables.push((name.to_string(), value));
        }
        // A later value of the same name replaces an earlier one.
        let context = Value::from_pairs(variables);
        template.render(context).map_err(TextError::template)
    }
}
