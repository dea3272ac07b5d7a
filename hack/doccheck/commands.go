package main

import (
	"fmt"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// command is a simple command: its words, with a placeholder for what only a
// shell would know.
type command struct {
	line  int // in the script, from 1
	words []string
}

// unknown stands for the value of an expansion.
const unknown = "VALUE"

// commands returns every simple command of a shell script, those inside of
// command substitutions, loops and pipelines included.
func commands(script string) ([]command, error) {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		return nil, err
	}
	var out []command
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		c := command{line: int(call.Pos().Line())}
		for _, w := range call.Args {
			c.words = append(c.words, text(w.Parts))
		}
		out = append(out, c)
		return true
	})
	return out, nil
}

// text is what a word is after quotes have been removed.
func text(parts []syntax.WordPart) string {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(strings.ReplaceAll(p.Value, `\`, ""))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			b.WriteString(text(p.Parts))
		default:
			b.WriteString(unknown)
		}
	}
	return b.String()
}

// unwrap returns the command that a command runs, for those that run another.
func unwrap(words []string) []string {
	for len(words) > 1 && (words[0] == "sudo" || words[0] == "exec" || words[0] == "nohup" || words[0] == "time") {
		words = words[1:]
	}
	return words
}

// checker says what is wrong with one program's arguments.
type checker func(args []string) error

// check returns what is wrong with the shell commands of a document.
func check(name, markdown string, programs map[string]checker) (problems []string, checked int) {
	blocks, err := shellBlocks(markdown)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", name, err)}, 0
	}
	for _, b := range blocks {
		cs, err := commands(b.text)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s:%d: not a shell script: %v", name, b.line, err))
			continue
		}
		for _, c := range cs {
			words := unwrap(c.words)
			program := words[0][strings.LastIndexByte(words[0], '/')+1:]
			verify := programs[program]
			if verify == nil {
				continue
			}
			checked++
			if err := verify(words[1:]); err != nil {
				problems = append(problems, fmt.Sprintf("%s:%d: %s: %v", name, b.line+c.line-1, strings.Join(words, " "), err))
			}
		}
	}
	return problems, checked
}
