// What the page says, in English and Korean.
import { createContext, useContext } from "react";

const WORDS = {
  hello: ["How can I help?", "무엇을 도와드릴까요?"], newChat: ["New chat", "새 대화"], chats: ["Chats", "대화 목록"],
  none: ["No chats yet", "아직 대화가 없습니다"], search: ["Search", "검색"], found: ["Search results", "검색 결과"],
  nothing: ["Nothing found", "결과가 없습니다"], more: ["Show more", "더 보기"], unread: ["unread", "읽지 않음"],
  theme: ["Light or dark", "밝게 또는 어둡게"], language: ["한국어", "English"], leave: ["Sign out", "로그아웃"],
  name: ["Your name", "이름"], enter: ["Come in", "들어가기"], back: ["Back", "뒤로"], menu: ["Options", "옵션"],
  any: ["This server is for development: any name will do.", "개발용 서버라서 아무 이름이나 쓸 수 있습니다."],
  rename: ["Rename", "이름 바꾸기"], archive: ["Archive", "보관"], invite: ["Invite", "초대"], title: ["Title", "제목"],
  say: ["Message", "메시지"], messages: ["Messages", "메시지"], send: ["Send", "보내기"], stop: ["Stop", "중지"],
  attach: ["Attach files", "파일 첨부"], drop: ["Drop files here", "여기에 놓으세요"], remove: ["Remove", "지우기"],
  retry: ["Try again", "다시 시도"], end: ["To the newest", "최신 메시지로"], reopen: ["Open again", "다시 열기"],
  offline: ["Offline: what you say is sent later.", "오프라인입니다. 나중에 전송됩니다."], save: ["Save", "저장"],
  ended: ["This chat is archived.", "보관된 대화입니다."], readOnly: ["You may only read.", "읽기 전용입니다."],
  thinking: ["Thinking…", "생각하는 중…"], thought: ["Thought", "생각한 내용"], sources: ["Sources", "출처"],
  input: ["Input", "입력"], output: ["Output", "결과"], copy: ["Copy", "복사"], again: ["Answer again", "다시 답하기"],
  edit: ["Edit", "수정"], cancel: ["Cancel", "취소"], good: ["Good answer", "좋은 답변"], bad: ["Bad answer", "나쁜 답변"],
  older: ["Older version", "이전 버전"], newer: ["Newer version", "다음 버전"], deleted: ["Deleted", "삭제된 메시지"],
  failed: ["It failed.", "실패했습니다."], cancelled: ["Stopped", "중지됨"], interrupted: ["It broke off.", "중단됨"],
  approve: ["Approve", "승인"], answer: ["Answer", "답하기"], deny: ["Decline", "거절"], resolved: ["Answered", "답변함"],
  waiting: ["Waits to be sent", "전송 대기 중"], seen: ["Seen by", "읽음:"], typing: ["is typing…", "입력 중…"],
  online: ["Online", "온라인"], away: ["Away", "자리 비움"], parts: ["What is an answer made of?", "답변의 구성"],
};

export const Language = createContext("en");

/** `t("send")` in the reader's language; of a time the hour if it is today's, else its day. */
export function useWords() {
  const language = useContext(Language);
  const format = (when, options) => new Intl.DateTimeFormat(language, options).format(new Date(when));
  const today = (when) => new Date(when).toDateString() === new Date().toDateString();
  const time = (when) => format(when, today(when) ? { timeStyle: "short" } : { month: "short", day: "numeric" });
  const day = (when) => format(when, { dateStyle: "full" });
  return { t: (word) => WORDS[word][language === "ko" ? 1 : 0], time, day };
}
