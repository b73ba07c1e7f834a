//! Templates that cover the features chat templates use, with conversations.

/// A template, a conversation for it, and whether transformers and this crate reject it.
#[derive(Clone, Copy)]
pub struct Case {
    pub template: &'static str,
    /// Further templates: names and sources.
    pub named: &'static [(&'static str, &'static str)],
    /// JSON with `messages` and optional further fields.
    pub conversation: &'static str,
    pub special_tokens: &'static [(&'static str, &'static str)],
    pub add_generation_prompt: bool,
    pub refused: bool,
}

const TALK: &str = r#"{"messages": [
    {"role": "system", "content": " be short "},
    {"role": "user", "content": "hello <b> & \"q\" it's é ✓ 😀 \u007f <tool>\ttab\nline"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "a,b,,c"},
    {"role": "assistant", "content": "ok."}
]}"#;

const TOOLS: &str = r#"{"messages": [
    {"role": "user", "content": "weather?", "name": "bob"},
    {"role": "assistant", "content": null, "reasoning_content": "think",
     "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "get_weather",
        "arguments": {"city": "Köln", "unit": "c", "days": 3, "p": 0.5, "big": 1e22, "tiny": 1e-7,
                      "none": null, "yes": true, "list": [1, [2, {}], []]}}}]},
    {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": [{"type": "text", "text": "20°"}]},
    {"role": "assistant", "content": "It is 20°."}],
  "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Weather's <here>",
     "parameters": {"type": "object", "properties": {"unit": {"type": "string", "enum": ["c", "f"]},
        "city": {"type": "string"}, "items": {"type": "array", "items": {"type": "integer"}}}, "required": ["city"]}}}],
  "documents": [{"title": "T", "text": "x"}, {"title": "U", "text": "y"}],
  "chat_template_kwargs": {"enable_thinking": false, "date_string": "26 Jul 2024", "n": 7, "f": 2.0,
     "words": ["b", "a", "c", "a"], "d": {"b": 2, "a": 1, "z": null}}}"#;

const SPECIAL: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
];

const CHAT_ML: &str = "{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'].strip() + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] != 'system' %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// As in Llama 3.1: a date, tools in the first turn of the user, calls as JSON.
const LLAMA_STYLE: &str = r##"{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- This block extracts the system message. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
    {%- endif %}
    {{- '<|start|>user<|end|>\n\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\n\n'+ message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|end|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start|>ipython<|end|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\n\n' }}
{%- endif %}
"##;

/// As in Qwen 3: tools in XML, the last question, reasoning of the last turns only.
const QWEN_STYLE: &str = r##"{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools><|im_end|>\n" }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\n' }}{%- endif %}
                {%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
                {{- '<tool_call>\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\n<tool_response>\n' }}{{- content }}{{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"##;

/// As in gpt-oss: macros that write a schema as types, recursively.
const MACRO_STYLE: &str = r##"{%- macro render_type(spec, required=[], indent=0) -%}
    {%- if spec.type == "array" -%}
        {%- if spec['items'] -%}
            {%- if spec['items']['type'] == "string" -%}{{- "string[]" }}
            {%- elif spec['items'].type == "integer" -%}{{- "integer[]" }}
            {%- else -%}{{- "any[]" }}{%- endif -%}
        {%- else -%}{{- "any[]" }}{%- endif -%}
    {%- elif spec.enum is defined and spec.enum -%}
        {{ '"' + spec.enum|join('" | "') + '"' }}
    {%- elif spec.type == "object" -%}
        {{- "{\n" }}
        {%- for name, inner in spec.properties.items() -%}
            {{- "  " * (indent + 1) ~ name ~ ("" if name in (spec.required or []) else "?") ~ ": " }}
            {{- render_type(inner, spec.required, indent=indent + 1) }}{{- ", " if not loop.last }}{{- "\n" }}
        {%- endfor -%}
        {{- "}" }}
    {%- else -%}{{ spec.type }}{%- endif -%}
{%- endmacro -%}
{%- for tool in tools %}
    {%- set tool = tool.function %}
    {{- "type " + tool.name + " = (_: " + render_type(tool.parameters) + ") => any;\n" }}
{%- endfor %}
{{- "date: " + strftime_now("%Y-%m-%d") }}
{%- for m in messages %}{% if m.thinking %}<{{ m.thinking }}>{% endif %}{{ m.role }}{% endfor %}"##;

const GENERATION: &str = "{% for m in messages %}{% if m.role == 'assistant' %}[a]\
    {% generation %}
{{ m.content }}{% set inner = loop.index %}<end>{% endgeneration %}{{ inner }}\
    {% else %}[{{ m.role }}]{{ m.content }}{% endif %}
{% endfor %}";

const fn case(template: &'static str, conversation: &'static str) -> Case {
    Case {
        template,
        named: &[],
        conversation,
        special_tokens: SPECIAL,
        add_generation_prompt: false,
        refused: false,
    }
}

const fn prompted(case: Case) -> Case {
    Case {
        add_generation_prompt: true,
        ..case
    }
}

const fn refused(template: &'static str) -> Case {
    Case {
        refused: true,
        ..case(template, TALK)
    }
}

/// Templates similar to those of published models.
fn whole_templates() -> Vec<Case> {
    vec![
        case(CHAT_ML, TALK),
        prompted(case(CHAT_ML, TALK)),
        prompted(case(LLAMA_STYLE, TALK)),
        prompted(case(LLAMA_STYLE, TOOLS)),
        prompted(case(QWEN_STYLE, TALK)),
        prompted(case(QWEN_STYLE, TOOLS)),
        case(MACRO_STYLE, TOOLS),
        case(GENERATION, TALK),
        Case {
            named: &[("tool_use", "T{{ tools | length }}"), ("rag", "R")],
            ..case("D", TOOLS)
        },
        Case {
            named: &[("tool_use", "T{{ tools | length }}"), ("rag", "R")],
            ..case("D", TALK)
        },
        Case {
            special_tokens: &[
                ("bos_token", "<s>"),
                ("sep_token", "|"),
                ("mask_token", "_"),
            ],
            ..case(
                "{{ bos_token }}{{ eos_token }}{{ sep_token }}{{ mask_token }}{{ cls_token is defined }}",
                TALK,
            )
        },
        Case {
            special_tokens: &[],
            refused: true,
            ..case("{{ bos_token + 'x' }}", TALK)
        },
    ]
}

/// One expression for each construct, on the conversation without tools.
const ON_TALK: &[&str] = &[
    "{{ messages | tojson }}",
    "{{ messages | tojson(ensure_ascii=True) }}",
    "{{ messages | tojson(true) }}",
    "{{ messages[1] | tojson(indent=2) }}",
    "{{ messages[1] | tojson(indent=0) }}|{{ messages[1] | tojson(indent='--') }}|{{ [] | tojson(indent=2) }}",
    "{{ messages[1] | tojson(separators=(',', ':')) }}{{ [1, 2] | tojson(indent=1, separators=[' ;', '=']) }}",
    "{{ {'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=True) }}{{ {'b': 1, 'a': 2} | tojson }}",
    "{{ {1: 'a', true: 'b', none: 'c', 1.5: 'd'} | tojson }}{{ (1, 2) | tojson }}{{ {} | tojson }}",
    "{{ [1.0, 0.1, 1e16, 1e15, 1.5e300, 1e-4, 1e-5, -0.0, 123456789.125] | tojson }}",
    "{{ '\\u2028 \\x08 \\x0c / </script>' | tojson }}",
    "{% for m in messages %}{{ loop.index0 }}{{ loop.previtem.role if loop.previtem is defined else '-' }}\
     {{ loop.nextitem.role if loop.nextitem is defined else '-' }}{% endfor %}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}:{{ loop.revindex }}:{{ loop.revindex0 }}:\
     {{ loop.first }}{{ loop.last }}{{ loop.cycle('a', 'b') }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.changed(m.role) }}\n{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ loop.length }}{{ loop.previtem is defined }}{% else %}none{% endfor %}",
    "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}{% if loop.index == 4 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "{% for x in [] %}a{% else %}b{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }};{% endfor %}",
    "{% set ns = namespace(n=0, found=false) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}\
     {% if loop.last %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }}{{ ns.found }}",
    "{{ none }}{{ true }}{{ false }}{{ 1.0 }}{{ 1e16 }}{{ 1e-7 }}{{ [1.0, none, true, 'a', \"it's\", {'a': (1,)}] }}{{ (1, 2) }}{{ () }}",
    "{{ 'a\\nb\\t\\\\' }}{{ ['a\\nb\\t\\\\', '\\u00a0\\u200b', '\\'\"'] }}",
    "{{ none ~ true ~ 1 ~ 2.5 ~ 'x' ~ [1, 'a'] ~ undefined_thing }}",
    "{{ none | string }}{{ true | string + 'x' }}{{ 1.0 | string }}{{ [1] | string }}{{ none | trim }}",
    "{{ 7 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7.5 // 2 }} {{ 6 / 2 }} {{ 1 + 2.0 }}",
    "{{ 'ab' * 3 }}{{ [1, 2] + [3] }}{{ [0] * 3 }}",
    "{{ 'a' < 'b' }}{{ 1 < 2 < 3 }}{{ 1 == 1.0 }}{{ 'a' in 'abc' }}{{ 2 in [1, 2] }}{{ 'role' in messages[0] }}{{ 'x' not in messages[0] }}",
    "{{ messages[-1].role }}{{ messages[1:][0].role }}{{ messages[::-1][0].content }}{{ messages[:-1] | length }}{{ messages[1:3] | map(attribute='role') | list }}",
    "{{ messages[1].content[:5] }}|{{ messages[1].content[-3:] }}|{{ messages[3].content[::2] }}|{{ messages[3].content[::-1] }}|{{ 'é✓'[1] }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(' / ') }}",
    "{{ messages | selectattr('role', 'in', ['user', 'system']) | list | length }}{{ messages | rejectattr('role', 'eq', 'user') | list | count }}",
    "{{ messages | map(attribute='nope', default='-') | join }}{{ messages | map('length') | list }}{{ ['a', 'b'] | map('upper') | join(',') }}",
    "{{ [1, 2, 3, 4] | select('odd') | list }}{{ [1, 2, 3] | reject('divisibleby', 2) | list }}{{ [0, 1, '', 'a'] | select | list }}",
    "{{ messages[0] | items | list }}{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{{ messages[0].keys() | list }}{{ messages[0].values() | list | length }}",
    "{{ {'b': 2, 'a': 1} | dictsort }}{{ {'b': 2, 'a': 1}.items() | list }}{{ dict(x=1, y=2) }}{{ {'b': 2, 'a': 1} | list }}",
    "{{ messages[0].get('role') }}{{ messages[0].get('x') }}{{ messages[0].get('x', 'd') }}{{ messages[0]['x'] is defined }}{{ messages[0].x is none }}",
    "{{ undefined_thing }}{{ undefined_thing is defined }}{{ undefined_thing is none }}{{ undefined_thing or 'd' }}{{ undefined_thing | default('e') }}{{ '' | default('f', true) }}{{ none | default('g') }}",
    "{% if undefined_thing %}a{% else %}b{% endif %}{% for x in undefined_thing %}c{% endfor %}{{ 'x' in undefined_thing }}{{ undefined_thing == 1 }}{{ undefined_thing | length }}",
    "{{ 'a' is string }}{{ 1 is number }}{{ 1.0 is float }}{{ 1 is integer }}{{ true is boolean }}{{ true is integer }}{{ true is number }}{{ none is none }}{{ [] is iterable }}{{ 'a' is iterable }}{{ {} is mapping }}{{ 'a' is sequence }}{{ {} is sequence }}{{ [] is sequence }}{{ {} is iterable }}{{ 1 is iterable }}{{ () is sequence }}{{ 1 is sequence }}",
    "{{ true is true }}{{ 1 is true }}{{ false is false }}{{ 'a' is lower }}{{ 'A' is upper }}{{ 3 is odd }}{{ 3 is even }}{{ 4 is divisibleby 2 }}{{ 1 is sameas 1 }}{{ 'a' is eq 'a' }}{{ 2 is gt 1 }}{{ 'x' is in 'xy' }}",
    "{{ '  x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ ' a'.lstrip() }}|{{ 'a '.rstrip() }}|{{ 'a\\n'.rstrip('\\n') }}|{{ ' x ' | trim }}|{{ 'xax' | trim('x') }}",
    "{{ messages[3].content.split(',') }}{{ 'a b  c'.split() }}{{ 'a b  c'.split(' ') }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a b c'.split(maxsplit=1) }}{{ 'a\\nb\\r\\nc\\n'.splitlines() }}",
    "{{ 'aBc'.upper() }}{{ 'aBc'.lower() }}{{ 'they are'.title() }}{{ \"they're\".title() }}{{ \"they're x\" | title }}{{ 'hELLO'.capitalize() }}{{ 'hELLO' | capitalize }}{{ 'aB'.swapcase() }}",
    "{{ 'abcabc'.replace('b', 'x') }}{{ 'abcabc'.replace('b', 'x', 1) }}{{ 'abc' | replace('b', 'y') }}{{ 'abc'.find('c') }}{{ 'abc'.find('z') }}{{ 'abca'.rfind('a') }}{{ 'abca'.count('a') }}{{ 'abc'.index('b') }}{{ 'abcabc'.find('a', 1) }}",
    "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}{{ 'a'.partition('=') }}",
    "{{ ', '.join(['a', 'b']) }}{{ 'x{}y{}'.format(1, 'a') }}{{ 'x{a}'.format(a=2) }}{{ '%s-%d' | format('a', 3) }}{{ 'ab'.center(6, '*') }}{{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4) }}{{ '7'.zfill(3) }}{{ '-7'.zfill(4) }}",
    "{{ 'ab'.isalpha() }}{{ '12'.isdigit() }}{{ 'a1'.isalnum() }}{{ ' '.isspace() }}{{ 'ab'.islower() }}{{ 'AB'.isupper() }}",
    "{{ [3, 1, 2] | sort }}{{ ['b', 'A', 'a'] | sort }}{{ [3, 1] | sort(reverse=true) }}{{ messages | sort(attribute='role') | map(attribute='role') | list }}{{ [1, 2, 2, 1] | unique | list }}{{ [1, 2] | reverse | list }}{{ 'abc' | reverse }}",
    "{{ [1, 2, 3] | first }}{{ [1, 2, 3] | last }}{{ [1, 2, 3] | sum }}{{ [1, 2] | max }}{{ [1, 2] | min }}{{ 'abc' | length }}{{ 'abc' | list }}{{ -3 | abs }}{{ 3.7 | int }}{{ '4' | int + 1 }}{{ '2.5' | float }}{{ 3.14159 | round(2) }}{{ 3.7 | round }}{{ 'x' | int(5) }}",
    "{{ [1, 2, 3, 4, 5] | batch(2) | list }}{{ [1, 2, 3, 4, 5] | slice(2) | list }}{{ 'a\\nb' | indent(2) }}|{{ 'a\\n\\nb' | indent(2, true) }}{{ 'a' | upper }}{{ 'A' | lower }}",
    "{% for role, group in messages | groupby('role') %}{{ role }}:{{ group | length }};{% endfor %}",
    "{% set x %}a{{ 1 }}b{% endset %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% with y = 3 %}{{ y }}{% endwith %}{{ y is defined }}",
    "{% macro f(a, b='x') %}[{{ a }}{{ b }}{{ caller is defined }}]{% endmacro %}{{ f(1) }}{{ f(1, b=2) }}{{ f(a=3) }}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}in{% endcall %}{% filter upper %}abc{% endfilter %}",
    "{% raw %}{{ x }}{% y %}{% endraw %}{# no #}a{{ '{%' }}{{ '{{' }}",
    "  {% if true %}  \n  a  \n  {% endif %}  \n{% if true -%}  \n b \n{%- endif %}\n{%+ if true %} c {% endif +%}\n{{- ' d ' -}}  \n e\n\n",
    "{% if true %}\n\nx\n{% endif %}\ny\n",
    "{{ 'yes' if messages else 'no' }}{{ 'a' if false }}{{ (1 if true else 2) + 1 }}{{ not true }}{{ true and 'x' }}{{ '' or 'y' }}{{ 0 or none }}",
    "{{ range(3) | list }}{{ range(1, 6, 2) | list }}{% for i in range(2) %}{{ i }}{% endfor %}{{ range(3) | length }}",
    "{{ strftime_now('%d %b %Y') }}{{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %p %-d %I %y %%') }}",
    "{% set m = messages[0] %}{{ m.content | length }}{{ m['content'] | trim | length }}{{ m.role | upper ~ '!' }}{{ (m.role ~ '!') | upper }}",
    "{% for m in messages %}{% set outer = loop %}{% for c in m.role[:2] %}{{ outer.index }}{{ loop.index }}{{ c }}{% endfor %}{% endfor %}",
    "{% for a in [[1, [2]], 3] recursive %}{% if a is iterable %}({{ loop(a) }}){% else %}{{ a }}{% endif %}{% endfor %}",
    "{% set l = ['a'] %}{% set l = l + ['b'] %}{{ l }}{% if l[5] is defined %}x{% endif %}{{ l[-1] }}{{ l | join('-') }}{{ [1.0, none, true] | join(',') }}",
    "{{ \"a\" 'b' }}{{ 'a' ~ 'b' * 2 }}{{ 1_000 }}{{ 0x1f }}{{ 1e3 }}",
    "{{ messages | length > 3 and messages[0].role == 'system' }}{{ (messages | length) % 2 == 1 }}{{ messages | length - 1 }}",
    "{{ messages[0].content.strip().split(' ')[0] }}{{ messages[1]['content'].split('\\n')[-1] }}{{ messages[2].content + messages[0].content | trim }}",
    "{{ [] or 'e' }}{{ {} or 'f' }}{% if messages[0].tool_calls %}x{% endif %}{% if not messages[0].tool_calls %}y{% endif %}{% if messages[0].tool_calls is defined and messages[0].tool_calls is not none %}z{% endif %}",
    "{{ 'a' | e }}{{ '<a>' | escape }}{{ '<' | safe }}{{ ['a', 'b'] | map('e') | join }}",
    "{{ 10 | string | length }}{{ 'abc'[1:] ~ 'abc'[0] }}{{ ('a', 'b')[1] }}{{ {'a': {'b': 1}}.a.b }}{{ {'a': 1}['a'] }}",
];

/// Less common expressions.
const FURTHER: &[&str] = &[
    "{% set ns = namespace() %}{% set ns.l = [] %}{% for m in messages %}{% set ns.l = ns.l + [m.role] %}{% endfor %}{{ ns.l }}",
    "{{ messages | join(', ', attribute='role') }}{{ messages | map(attribute='role') | unique | sort | join }}",
    "{{ none == false }}{{ [] == false }}{{ 0 == false }}{{ 1 == true }}{{ '' == none }}{{ '1' == 1 }}{{ (1, 2) == (1, 2) }}{{ [1] == [1.0] }}{{ {'a': 1} == {'a': 1} }}",
    "{{ not none }}{{ None }}{{ True }}{{ False }}{{ 2 ** -1 }}{{ -2 ** 2 }}{{ 10 // 0.3 }}{{ 1.5 | int }}{{ '12' | int }}{{ 1 - -1 }}",
    "{{ messages[10] }}{{ 'abc'[5] }}{{ messages['a'] }}{{ messages[0]['nope'] }}{{ 'a' if false }}{{ loop is defined }}",
    "{{ messages | selectattr('content') | list | length }}{{ messages | selectattr('nope', 'defined') | list }}{{ messages | selectattr('nope', 'undefined') | list | length }}",
    "{{ [{'a': {'b': 1}}] | map(attribute='a.b') | list }}{{ [[1, 2]] | map(attribute=0) | list }}{{ [[1, 2]] | map('first') | list }}{{ [' a '] | map('trim') | list }}{{ ['ab'] | map('replace', 'a', 'c') | list }}",
    "{{ {'b': 1, 'a': 2} | dictsort(by='value', reverse=true) }}{{ {'B': 1, 'a': 2} | dictsort }}",
    "{{ undefined_thing | default(none) }}{{ undefined_thing | default('x', boolean=True) }}{{ 'aXa' | replace('a', 'b', 1) }}{{ 'aXa' | replace('a', 'b', count=1) }}",
    "{{ range(5, 0, -1) | list }}{{ [3, 1, 2] | sort | first }}{{ 'b,a'.split(',') | sort | join('+') }}{{ messages | length | string + '!' }}",
    "{{ messages[0] | tojson(indent=2) | indent(4) }}{{ [1] | tojson ~ 'x' }}{{ [1] | tojson + 'y' }}{{ '\"' | tojson | tojson }}",
    "{% set x = 'outer' %}{% for m in messages[:1] %}{% set x = 'inner' %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 'if' %}{% endif %}{{ x }}",
    "{% for m in messages %}{% if loop.previtem is defined and loop.previtem.role == m.role %}same{% else %}{{ m.role }}{% endif %}{% if loop.nextitem is not defined %}.{% endif %}{% endfor %}",
    "{% for k, v in {'x': [1, 2], 'y': {}}.items() %}{{ k }}:{% for i in v %}{{ i }}{% if not loop.last %},{% endif %}{% else %}-{% endfor %};{% endfor %}",
    "{% macro f(x, n=2) %}{{ x }}{% if n %}{{ f(x ~ n, n - 1) }}{% endif %}{% endmacro %}{{ f('a') }}{% set r = f('b', n=1) %}{{ r | upper }}{{ r | length }}",
    "{%- set a = 'x' -%}  {{- a }}  {%- if a == 'x' %}  y{%- endif %}\n\n{#- c -#}\n z {{ a -}}\n\n",
    "{{ 'a\\nb' }}|{{ \"it's\" }}|{{ '\\'' }}|{{ '\\u00e9\\x41' }}|{{ 'tab\\t.' }}",
    "{{ 'a b'.split(' ', 1)[1] }}{{ 'k: v'.split(': ') | last }}{{ 'x'.join('abc') }}{{ 'abc' | join('-') }}{{ 'ab' in ['ab'] }}{{ '' in 'a' }}",
    "{{ messages[1].content | length }}{{ messages[1].content | list | last }}{{ messages[1].content | upper | lower | title | length }}{{ 'ÉCOLE ß' | lower }}{{ 'straße' | upper }}",
    "{{ 1.0 * 3 }}{{ 7 % 2.5 }}{{ 1 / 3 }}{{ 100000000000000000 * 10 }}{{ 0.1 + 0.2 }}{{ 3 | float }}{{ 2.0 | int }}{{ 5 / 5 }}{{ 1e2 }}{{ (5 / 2) | round | int }}{{ 2.5 | round(0, 'floor') }}{{ 2.345 | round(2, 'ceil') }}",
    "{% set d = {'a': 1} %}{{ d.a }}{{ d['a'] }}{{ d.get('b', {}).get('c') }}{{ 'a' in d }}{{ d | length }}{{ d | first }}{{ d | items | first }}{{ d.keys() | length }}{{ d.values() | sum }}",
    "{% for a in [1, 2, 3] if a > 1 %}{{ loop.index }}{{ a }}{{ loop.last }}{% endfor %}{% for a in [1, 2, 3] | reverse %}{{ a }}{% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}",
    "{% set c = joiner(', ') %}{% for m in messages %}{{ c() }}{{ m.role }}{% endfor %}{% set y = cycler('a', 'b') %}{{ y.next() }}{{ y.next() }}{{ y.next() }}",
    "{{ 'a' is in ['a'] }}{{ 1 is not string }}{{ none is not none }}{{ 'x' is not in 'abc' }}{{ undefined_thing is not defined }}{{ 5 is not divisibleby 2 }}{{ 'a' is ne 'b' }}{{ 3 is ge 3 }}{{ 'upper' is filter }}{{ 'odd' is test }}",
    "{% if messages[0]['content'] is defined and messages[0]['content'] != '' and 'short' in messages[0]['content'] %}yes{% endif %}{{ (messages | last)['role'] }}{{ (messages | first).role }}",
    "{{ true + 1 }}{{ true and 1 }}{{ 0 or '' or 'z' }}{{ 'a' and none }}{{ (none or {}) | length }}{{ [none, 1] | select | list }}{{ [1, none] | reject('none') | list }}",
    "{% set parts = [{'type': 'text', 'text': 'a'}, {'type': 'image'}] %}{{ parts | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') }}{{ parts | map(attribute='text', default='?') | join }}{{ parts | rejectattr('text', 'defined') | list }}",
];

/// Expressions on the conversation with tools.
const ON_TOOLS: &[&str] = &[
    "{{ tools | tojson }}",
    "{{ tools | tojson(indent=4) }}",
    "{{ messages | tojson }}",
    "{{ messages[1].tool_calls[0].function.arguments | tojson(ensure_ascii=true, sort_keys=true, separators=(', ', ': ')) }}",
    "{{ messages[1].tool_calls[0].function.arguments }}",
    "{{ messages[1].content is defined }}{{ 'content' in messages[1] }}{{ messages[1].reasoning_content }}{{ messages[1].thinking }}",
    "{{ messages[2].content[0].text }}{{ messages[2].content is string }}{% for part in messages[2].content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}",
    "{% for tool in tools %}{% for name, p in tool.function.parameters.properties.items() %}{{ name }}:{{ p.type }}{{ p['items'].type if p['items'] is defined }};{% endfor %}{% endfor %}",
    "{% for tool in tools %}{% for p in tool.function.parameters.properties | dictsort %}{{ p[0] }};{% endfor %}{{ tool.function.parameters.properties | length }}{{ 'city' in tool.function.parameters.required }}{% endfor %}",
    "{% for doc in documents %}{{ loop.index }}. {{ doc['title'] }}: {{ doc.text }}\n{% endfor %}{{ documents | map(attribute='title') | join(', ') }}",
    "{{ date_string }}{{ enable_thinking }}{{ enable_thinking is false }}{{ n + 1 }}{{ f }}{{ n / 2 }}{{ words | unique | join }}{{ words | sort | join }}{{ d }}{{ d | dictsort(by='value') if false }}{{ d.z is none }}{{ d.items() | list }}",
    "{% if tools is defined and tools is not none and tools | length > 0 %}{{ tools | map(attribute='function') | map(attribute='name') | list }}{% endif %}",
    "{% set args = messages[1].tool_calls[0].function.arguments %}{% for k, v in args | items %}<{{ k }}>{{ v if v is string else v | tojson }}</{{ k }}>{% endfor %}",
    "{% set args = messages[1].tool_calls[0].function.arguments %}{% for k in args %}{{ k }}={{ args[k] | string }};{% endfor %}",
    "{% for m in messages %}{{ m.role }}{% if m.name is defined %}({{ m.name }}){% endif %}{% if m.tool_call_id %}#{{ m.tool_call_id }}{% endif %}{{ m.keys() | list }}{% endfor %}",
    "{{ tools[0].function.description | tojson }}{{ tools[0].function.name.split('_') | last }}{{ tools[0]['function']['parameters'].required[0] }}",
];

const REFUSED: &[&str] = &[
    "{{ raise_exception('no') }}",
    "{{ undefined_thing.a }}",
    "{{ messages[0].a.b }}",
    "{{ 'a' + 1 }}",
    "{{ 'a' + none }}",
    "{{ undefined_thing + 'a' }}",
    "{{ messages.append(1) }}",
    "{{ 'a' | no_such_filter }}",
    "{{ 'a'.no_such_method() }}",
    "{{ undefined_thing | tojson }}",
    "{{ no_such_function() }}",
    "{% for m in messages %}",
    "{{ [1] | tojson(nope=1) }}",
    "{{ 'abc'.index('z') }}",
    "{{ 1 / 0 }}",
];

pub fn cases() -> Vec<Case> {
    let mut cases = whole_templates();
    cases.extend(ON_TALK.iter().map(|template| case(template, TALK)));
    cases.extend(FURTHER.iter().map(|template| case(template, TALK)));
    cases.extend(ON_TOOLS.iter().map(|template| case(template, TOOLS)));
    cases.extend(REFUSED.iter().map(|template| refused(template)));
    cases
}
